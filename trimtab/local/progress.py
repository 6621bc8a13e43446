"""How long work is shown: a bar with the time left on a terminal, JSON lines anywhere else."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from trimtab.local.broker_jars import Progress

SECONDS_BETWEEN_LINES = 1.0


@contextmanager
def download_progress(label: str, stream: TextIO | None = None) -> Iterator[Progress]:
    """Yields a function to call with (bytes so far, bytes in all). Writes to `stream`, standard error by
    default.

    Nothing is written before the first call, so work that was not needed leaves no trace.
    """
    stream = stream or sys.stderr
    with _bar(label, stream) if stream.isatty() else _lines(label, stream) as progress:
        yield progress


@contextmanager
def _bar(label: str, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(file=stream))
    task = bar.add_task(label)

    def show(done_bytes: int, total_bytes: int) -> None:
        bar.start()
        bar.update(task, completed=done_bytes, total=total_bytes)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def _lines(label: str, stream: TextIO) -> Iterator[Progress]:
    started = time.monotonic()
    last_line = float("-inf")

    def show(done_bytes: int, total_bytes: int) -> None:
        nonlocal last_line
        now = time.monotonic()
        if now - last_line < SECONDS_BETWEEN_LINES and done_bytes < total_bytes:
            return
        last_line = now
        left_seconds = (now - started) * (total_bytes - done_bytes) / max(done_bytes, 1)
        line = {"event": "download", "what": label, "bytes": done_bytes, "of_bytes": total_bytes}
        print(json.dumps({**line, "seconds_left": round(left_seconds, 1)}), file=stream, flush=True)

    yield show
