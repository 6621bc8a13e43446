"""The requests that wait for one version's runtime, by priority. Pure: no clock, no event loop.

The rule. A run takes what waits of `HIGH`, then of `NORMAL`, then of `LOW`, each class in the order of arrival, as far
as it has room. A class that waited and was passed over by `PATIENCE_RUNS` runs in a row goes first in the next one, so
however much arrives above it, it gets one run in `PATIENCE_RUNS + 1` (two such classes take turns). `SHADOW` runs when
nothing else waits, never together with anything else, and has no patience: what it may hold is bounded by its caller.

When the queue is full, a request takes the places of waiting ones of lower priority, the youngest of the lowest class
first; when those are not enough it is refused. What nobody waits for any more (the client hung up, its time ran out)
is dropped when its turn comes, or before that when room is short.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from typing import Any, Literal

import msgspec

from services.serving.columns import Columns, Row

PATIENCE_RUNS = 4
"""Runs in a row that may pass a waiting class over."""


class Priority(IntEnum):
    """Who goes first. `SHADOW` is for copies of requests that nobody waits for; no caller can ask for it."""

    HIGH = 0
    NORMAL = 1
    LOW = 2
    SHADOW = 3


_SHADOW = Priority.SHADOW


class Pending(msgspec.Struct, eq=False):
    """One request's validated rows on their way through a batch: plain `rows`, or `columns` of arrays.

    `started` and `queued_at` are `time.perf_counter()` at the parsed request and when it was queued; what resolves
    `future` is the finisher's choice. `source`: where the outputs come from; only what is to run is ever queued. (A
    `Struct` as `Question` is.)
    """

    count: int
    rows: Sequence[Row] | None
    columns: Columns | None
    route: str
    started: float
    future: "asyncio.Future[Any]"
    queued_at: float = 0.0
    priority: Priority = Priority.NORMAL
    source: Literal["run", "cache", "constant"] = "run"


class Full(Exception):
    """There is no room, and nothing of lower priority that would make enough of it."""


class PendingQueue:
    """Lives on one event loop.

    `rows` counts what waits but the shadow's; `dropped` the requests that nobody waited for when their turn came.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.dropped = 0
        self.displaced = 0
        self._abandoned = False
        self._lines: tuple[deque[Pending], ...] = tuple(deque() for _ in Priority)
        self._high, self._normal, self._low, self._shadow = self._lines
        self._passed = [0] * Priority.SHADOW
        """By class: runs in a row that took none of it though some waited."""

    def __bool__(self) -> bool:
        return bool(self._normal or self._high or self._low or self._shadow)

    def push(self, pending: Pending, limit_rows: int) -> list[Pending]:
        """Queue `pending` behind at most `limit_rows` rows; a single request may exceed them when nothing else waits.

        Returns the requests that lost their place to it. Raises `Full`.
        """
        displaced: list[Pending] = []
        if pending.priority is not _SHADOW:
            if self.rows and self.rows + pending.count > limit_rows:
                displaced = self._make_room(pending, limit_rows)
            self.rows += pending.count
        self._lines[pending.priority].append(pending)
        return displaced

    def abandoned(self) -> None:
        """Somebody stopped waiting for a request that may be queued here."""
        self._abandoned = True

    def take(self, limit_rows: int) -> list[Pending]:
        """The requests of the next run: `limit_rows` rows at most, or one larger request alone."""
        if self._high or self._low:
            return self._take_by_priority(limit_rows)
        batch: list[Pending] = []
        if self._normal:
            self._fill(batch, 0, self._normal, limit_rows)
        elif self._shadow:
            self._fill(batch, 0, self._shadow, limit_rows)
        return batch

    def clear(self) -> list[Pending]:
        """Everything that waits; nothing does afterwards."""
        waiting = [pending for line in self._lines for pending in line]
        for line in self._lines:
            line.clear()
        self.rows = 0
        self._passed = [0] * Priority.SHADOW
        return waiting

    def _take_by_priority(self, limit_rows: int) -> list[Pending]:
        patient = [c for c in range(Priority.SHADOW) if self._passed[c] < PATIENCE_RUNS]
        starved = sorted((c for c in range(Priority.SHADOW) if c not in patient), key=lambda c: -self._passed[c])
        batch: list[Pending] = []
        rows = 0
        for place in (*starved, *patient):
            line = self._lines[place]
            before = len(batch)
            rows = self._fill(batch, rows, line, limit_rows)
            self._passed[place] = self._passed[place] + 1 if line and len(batch) == before else 0
        return batch

    def _fill(self, batch: list[Pending], rows: int, line: deque[Pending], limit_rows: int) -> int:
        shadow = line is self._shadow
        while line and (not batch or rows + line[0].count <= limit_rows):
            pending = line.popleft()
            if not shadow:
                self.rows -= pending.count
            if not pending.future.done():
                batch.append(pending)
                rows += pending.count
            else:
                self.dropped += 1
        return rows

    def _make_room(self, pending: Pending, limit_rows: int) -> list[Pending]:
        if self._abandoned:
            self._sweep()
            if not self.rows or self.rows + pending.count <= limit_rows:
                return []
        places: list[deque[Pending]] = []
        missing = min(self.rows + pending.count - limit_rows, self.rows)
        for line in reversed(self._lines[pending.priority + 1 : Priority.SHADOW]):
            for waiting in reversed(line):
                if missing <= 0:
                    break
                missing -= waiting.count
                places.append(line)
        if missing > 0:
            raise Full
        displaced = [line.pop() for line in places]
        self.rows -= sum(gone.count for gone in displaced)
        self.displaced += len(displaced)
        return displaced

    def _sweep(self) -> None:
        """Drop what nobody waits for."""
        self._abandoned = False
        for place, line in enumerate(self._lines):
            kept = [pending for pending in line if not pending.future.done()]
            self.dropped += len(line) - len(kept)
            if place != Priority.SHADOW:
                self.rows -= sum(p.count for p in line) - sum(p.count for p in kept)
                if not kept:
                    self._passed[place] = 0
            line.clear()
            line.extend(kept)
