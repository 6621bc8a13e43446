"""A log file that cannot fill the disk."""

import json
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

MAX_BYTES = 5 << 20
TAIL_BYTES = 8 << 10


class BoundedLog:
    """A file that child processes append to by themselves; `trim` moves it to `path.1` when it has grown.

    Not a pipe through this process: a child must never wait for us to write its log.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._opened_at = 0
        path.parent.mkdir(parents=True, exist_ok=True)

    def open(self) -> int:
        """A file descriptor that appends, for a child's standard output; the caller closes it."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._opened_at = os.fstat(descriptor).st_size
        return descriptor

    def trim(self) -> None:
        """If the file is past its bound, copy it over `path.1` and empty it; what is written meanwhile is lost."""
        if self.path.stat().st_size > self._max_bytes:
            shutil.copyfile(self.path, f"{self.path}.1")
            os.truncate(self.path, 0)
            self._opened_at = 0

    def last_line(self) -> str:
        """The last line since `open` that is not blank; empty if there is none."""
        lines = self._lines()
        return lines[-1] if lines else ""

    def last_error(self, within_seconds: float) -> str:
        """The last JSON line of level error that is not older than `within_seconds`; empty if there is none."""
        since = datetime.now(UTC) - timedelta(seconds=within_seconds)
        return next((line for line in reversed(self._lines()) if _is_error(line, since)), "")

    def _lines(self) -> list[str]:
        with self.path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, min(self._opened_at, size), size - TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
        return [line.strip() for line in text.splitlines() if line.strip()]


def _is_error(line: str, since: datetime) -> bool:
    try:
        record = json.loads(line)
        return record["level"] in ("error", "critical") and datetime.fromisoformat(record["time"]) >= since
    except (ValueError, TypeError, KeyError):  # no line of ours
        return False
