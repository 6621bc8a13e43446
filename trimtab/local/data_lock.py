"""One user at a time for a data directory: an advisory lock on a file in it."""

import fcntl
import os
import time
from pathlib import Path

from trimtab.local.errors import DataDirBusy

PATIENCE_SECONDS = 2.0
"""A killed cluster's broker may need a moment to be gone; the lock is tried again for so long."""


class DataLock:
    """Locks `path` from `acquire()` until `release()` and the end of every child that inherited `fd`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    @property
    def fd(self) -> int:
        """The file descriptor to hand down to a child, so that the lock lasts as long as the child lives."""
        return self._fd

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            DataDirBusy: naming the directory and the process that has it.
        """
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                holder = os.pread(fd, 20, 0).decode("ascii", "replace") or "unknown"
                os.close(fd)
                raise DataDirBusy(
                    f"{self._path.parent} is in use by process {holder}; stop that one, or set"
                    " TRIMTAB_DATA_DIR to another directory."
                ) from error
            break
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        self._fd = fd

    def release(self) -> None:
        """Let go; without effect if not held."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
