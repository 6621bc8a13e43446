"""A log file that cannot fill the disk."""

import os
import shutil
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
        path.parent.mkdir(parents=True, exist_ok=True)

    def open(self) -> int:
        """A file descriptor that appends, for a child's standard output; the caller closes it."""
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def trim(self) -> None:
        """If the file is past its bound, copy it over `path.1` and empty it; what is written meanwhile is lost."""
        if self.path.stat().st_size > self._max_bytes:
            shutil.copyfile(self.path, f"{self.path}.1")
            os.truncate(self.path, 0)

    def last_line(self) -> str:
        """The last line that is not blank; empty if there is none."""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""
