"""Write to disk while more comes: what is durable only after `fsync` need not wait for the last byte to begin with it.

The kernel keeps what was written in memory for half a minute. Told where it lies (`sync_file_range`, Linux) it starts
to write at once and returns; an `fsync` at the end finds little left. That one still makes the file durable: this
promises nothing.
"""

import ctypes

BEGIN_BYTES = 8 << 20
"""So much is gathered before the disk is asked."""
_SYNC_FILE_RANGE_WRITE = 2

_sync_file_range = ctypes.CDLL(None).sync_file_range
_sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class Writeback:
    """The writing of one file, open as `descriptor`, whose first `size` bytes were written before."""

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._begun = size

    def wrote(self, size: int) -> None:
        """The file has `size` bytes now. Blocks only where the disk can take no more for the moment."""
        if size - self._begun >= BEGIN_BYTES:
            # What it answers does not matter: what it could not begin with is left to fsync.
            _sync_file_range(self._descriptor, self._begun, size - self._begun, _SYNC_FILE_RANGE_WRITE)
            self._begun = size
