"""A log file that cannot fill the disk."""

import os
from pathlib import Path

MAX_BYTES = 5 << 20
TAIL_BYTES = 8 << 10


class BoundedLog:
    """Appends to `path`; past `max_bytes` the file becomes `path.1`, in place of the last `path.1`."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._max_bytes = max_bytes
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append `data`, at once."""
        if self._file.tell() + len(data) > self._max_bytes and self._file.tell():
            self._file.close()
            os.replace(self.path, f"{self.path}.1")
            self._file = self.path.open("ab", buffering=0)
        self._file.write(data)

    def last_line(self) -> str:
        """The last line that is not blank; empty if there is none."""
        with self.path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        return lines[-1].strip() if lines else ""

    def close(self) -> None:
        """Close the file."""
        self._file.close()
