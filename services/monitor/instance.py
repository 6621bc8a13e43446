"""One monitor a SQLite database: a second one refuses to start.

Two monitors on one database would fence each other without end. PostgreSQL's row locks let several share the work;
SQLite's file lock would only make them take turns at being wrong about what the other holds in memory.
"""

import fcntl
from pathlib import Path
from typing import IO

from services.kernel.errors import Misconfigured


class SingleInstance:
    """A part that holds `path` locked while the service runs. The kernel frees the lock when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None

    async def start(self) -> None:
        """Take the lock. Raises `Misconfigured` when another process has it."""
        file = self._path.open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise Misconfigured(
                f"another monitor already uses the database beside {self._path}: on SQLite there can be one only; stop "
                "it, or set TRIMTAB_DATABASE_URL to a PostgreSQL to run several"
            ) from error
        self._file = file

    async def stop(self) -> None:
        """Give the lock back."""
        if self._file is not None:
            self._file.close()
