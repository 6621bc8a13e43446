"""A cache in this process: the least recently used go first, bounded by bytes."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from services.serving.cache import CacheCounts
from services.serving.runtime import Array

ENTRY_OVERHEAD_BYTES = 512
"""What an entry takes beside its numbers: key, list, array objects. Measured with `tracemalloc`: 430 for one output."""

_LARGEST_SHARE = 8
"""An entry may take one eighth of the cache at most: one request must not empty it."""


@dataclass(slots=True)
class _Entry:
    outputs: list[Array]
    kept_at: float
    size: int


class MemoryCache:
    """See `PredictionCache`."""

    def __init__(self, limit_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = CacheCounts(limit_bytes=limit_bytes)
        self._limit_bytes = limit_bytes
        self._clock = clock
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    async def get(self, key: bytes, ttl_seconds: float) -> list[Array] | None:
        """See `PredictionCache`."""
        entry = self._entries.get(key)
        if entry is None:
            self.counts.misses += 1
            return None
        if self._clock() - entry.kept_at >= ttl_seconds:
            self.counts.misses += 1
            self._drop(key)
            return None
        self._entries.move_to_end(key)
        self.counts.hits += 1
        return entry.outputs

    def put(self, key: bytes, outputs: list[Array], ttl_seconds: float) -> None:
        """See `PredictionCache`."""
        size = ENTRY_OVERHEAD_BYTES + sum(_bytes_of(output) for output in outputs)
        if size * _LARGEST_SHARE > self._limit_bytes:
            return
        if key in self._entries:
            self._drop(key)
        kept = [output.copy() for output in outputs]  # not a view, which would keep its whole batch alive
        for output in kept:
            output.setflags(write=False)
        self._entries[key] = _Entry(kept, self._clock(), size)
        self.counts.bytes += size
        while self.counts.bytes > self._limit_bytes:
            self._drop(next(iter(self._entries)))
            self.counts.evicted += 1
        self.counts.entries = len(self._entries)

    async def start(self) -> None:
        """Nothing goes on beside the requests."""

    async def stop(self) -> None:
        """Nothing to end."""

    def _drop(self, key: bytes) -> None:
        self.counts.bytes -= self._entries.pop(key).size
        self.counts.entries = len(self._entries)


def _bytes_of(output: Array) -> int:
    if output.dtype != np.object_:
        return int(output.nbytes)
    return int(output.nbytes) + sum(56 + 4 * len(value) for value in output.reshape(-1).tolist() if value)
