"""What one import may fetch."""

import time

from services.kernel.errors import TooLarge, Unavailable

MAX_BYTES = 8 << 30
"""All files of one model; the registry takes no more by default."""
MAX_FILES = 200
"""Files that are fetched for one model."""
MAX_SECONDS = 3600.0
"""Time of one import's downloads."""


class Budget:
    """Bytes, files and time that are left. Not for several threads."""

    def __init__(
        self, max_bytes: int = MAX_BYTES, max_files: int = MAX_FILES, max_seconds: float = MAX_SECONDS
    ) -> None:
        self._max_bytes, self._max_files, self._max_seconds = max_bytes, max_files, max_seconds
        self._bytes = self._files = 0
        self._deadline = time.monotonic() + max_seconds

    def file(self) -> None:
        """One file more. Raises `TooLarge`."""
        self._files += 1
        if self._files > self._max_files:
            raise TooLarge(f"the model needs more than {self._max_files} files: import it from a folder, in fewer")

    def take(self, size: int) -> None:
        """`size` bytes more. Raises `TooLarge`, and `Unavailable` when the time is over."""
        self._bytes += size
        if self._bytes > self._max_bytes:
            raise TooLarge(f"the model has more than {self._max_bytes} bytes")
        if time.monotonic() > self._deadline:
            raise Unavailable(f"the model was not fetched within {self._max_seconds:.0f} s")
