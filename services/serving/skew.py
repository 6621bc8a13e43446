"""How often requests did not fit the signature, by feature."""

import threading

_MOST_NAMES = 200
_LONGEST_NAME = 256
OTHER = "(other)"


class Skew:
    """Counts by feature name. Names come from callers, so their number and length are bounded. Thread-safe."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._lock = threading.Lock()

    def count(self, feature: str) -> None:
        """One request had this feature wrong: missing, unexpected, of the wrong type, or refused."""
        name = feature[:_LONGEST_NAME]
        with self._lock:
            if name not in self._counts and len(self._counts) >= _MOST_NAMES:
                name = OTHER
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, int]:
        """The counts since the last call."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts
