"""Predictions that may be repeated: what was answered, by what answered it and what was asked.

`key.py` names them, `memory.py` keeps them in this process, `redis.py` where several replicas find them, as the bytes
of `coding.py`. A cache is never needed: whatever goes wrong with it is a miss.

A request is kept and found as a whole, so a batch is a hit only when the same rows came in the same order before. By
row, half a batch would have to run and be put together again with the rest, and each row would cost a look-up.
"""

from dataclasses import dataclass
from typing import Protocol

from services.serving.runtime import Array

MOST_ROWS = 64
"""A request of more rows is not cached: hashing it would cost about as much as answering it."""


@dataclass
class CacheCounts:
    """Since the process started. `errors`: look-ups and writes that failed, were too slow or found what can't be
    right; `evicted`: entries that made room. `entries` and `bytes` are what is in this process now: kept there, or not
    sent yet."""

    hits: int = 0
    misses: int = 0
    errors: int = 0
    evicted: int = 0
    entries: int = 0
    bytes: int = 0
    limit_bytes: int = 0


class PredictionCache(Protocol):
    """Lives on the event loop."""

    counts: CacheCounts

    async def get(self, key: bytes, ttl_seconds: float) -> list[Array] | None:
        """The outputs that were put under `key` at most `ttl_seconds` ago. They are shared: nobody writes to them.

        Never raises, and takes no longer than a bound of the cache's own.
        """
        ...

    def put(self, key: bytes, outputs: list[Array], ttl_seconds: float) -> None:
        """Keep a copy of `outputs`, if there is room. Never raises, never waits."""
        ...

    async def start(self) -> None:
        """Begin what goes on beside the requests."""
        ...

    async def stop(self) -> None:
        """End it."""
        ...
