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
    with work_progress("download", label, stream=stream) as progress:
        yield progress


@contextmanager
def work_progress(event: str, label: str, unit: str = "bytes", stream: TextIO | None = None) -> Iterator[Progress]:
    """`download_progress` for any work that is counted in `unit`; `event` names it in the JSON lines.

    The first line does not say how long it will take: only what happens after it tells.
    """
    stream = stream or sys.stderr
    with _bar(label, unit, stream) if stream.isatty() else _lines(event, label, unit, stream) as progress:
        yield progress


@contextmanager
def _bar(label: str, unit: str, stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
    bar = Bar(
        TextColumn("{task.description}"), BarColumn(), amount, TimeRemainingColumn(), console=Console(file=stream)
    )
    task = bar.add_task(label)

    def show(done: int, total: int) -> None:
        bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield show
    finally:
        bar.stop()


@contextmanager
def _lines(event: str, label: str, unit: str, stream: TextIO) -> Iterator[Progress]:
    begun: tuple[float, int] | None = None
    last_line = float("-inf")

    def show(done: int, total: int) -> None:
        nonlocal begun, last_line
        now = time.monotonic()
        if now - last_line < SECONDS_BETWEEN_LINES and done < total:
            return
        last_line = now
        line: dict[str, float | str] = {"event": event, "what": label, unit: done, f"of_{unit}": total}
        if begun is None or done < begun[1]:
            begun = now, done
        if done >= total or done > begun[1]:
            line["seconds_left"] = round((now - begun[0]) * (total - done) / max(done - begun[1], 1), 1)
        print(json.dumps(line), file=stream, flush=True)

    yield show
