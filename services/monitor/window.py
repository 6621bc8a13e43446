"""Count windows over the prediction log: mergeable counts, split exactly at the window's edge.

A window holds, for every feature of one version's baseline, how many of its rows fell into each cell. Counts add up, so
windows of partitions and replicas merge, and a saved window is a few kilobytes whatever its traffic.
"""

import json
import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.monitor.layout import Block, CountLayout, Floats, Ints

_NO_TIME = np.iinfo(np.int64).max


class BadWindow(ValueError):
    """The bytes are not a window, or belong to another baseline."""


@dataclass(frozen=True)
class Window:
    """`rows` counted rows; `counts` (cells,) as `CountLayout` lays them out; never changed in place.

    `below` and `above` (numbers,) add up how far values lay outside the grids. `start_us` and `end_us` are the
    earliest and the latest event time, in microseconds since 1970 UTC; meaningless while `rows` is 0.
    """

    digest: str
    rows: int
    start_us: int
    end_us: int
    counts: Ints
    below: Floats
    above: Floats

    @classmethod
    def empty(cls, layout: CountLayout) -> "Window":
        """A window without rows."""
        counts, numbers = np.zeros(layout.cell_count, np.int64), layout.number_count
        return cls(layout.digest, 0, _NO_TIME, -_NO_TIME, counts, np.zeros(numbers), np.zeros(numbers))

    def without_rows(self) -> "Window":
        """A window of the same baseline without rows."""
        counts, numbers = np.zeros_like(self.counts), np.zeros_like(self.below)
        return Window(self.digest, 0, _NO_TIME, -_NO_TIME, counts, numbers, numbers)

    @classmethod
    def of(cls, layout: CountLayout, block: Block, start: int = 0, stop: int | None = None) -> "Window":
        """The rows `start` .. `stop - 1` of `block`, counted. O(rows x features)."""
        stop = len(block) if stop is None else stop
        if stop <= start:
            return cls.empty(layout)
        counts = np.bincount(block.cells[:, start:stop].ravel(), minlength=layout.cell_count)
        first, last = np.searchsorted(block.outside_row, [start, stop])
        at, numbers = block.outside_number[first:last], layout.number_count
        times = block.times_us[start:stop]
        return cls(
            layout.digest,
            stop - start,
            int(times.min()),
            int(times.max()),
            counts,
            _sums(at, block.outside_below[first:last], numbers),
            _sums(at, block.outside_above[first:last], numbers),
        )

    def merge(self, other: "Window") -> "Window":
        """Both windows' rows together. Raises `BadWindow` when they were counted against different baselines."""
        if self.digest != other.digest:
            raise BadWindow("windows that were counted against different baselines cannot be merged")
        return replace(
            self,
            rows=self.rows + other.rows,
            start_us=min(self.start_us, other.start_us),
            end_us=max(self.end_us, other.end_us),
            counts=self.counts + other.counts,
            below=self.below + other.below,
            above=self.above + other.above,
        )

    def to_bytes(self) -> bytes:
        """A compact form: one line of JSON, then the arrays, deflated."""
        about = [self.digest, self.rows, self.start_us, self.end_us, len(self.counts), len(self.below)]
        body = b"".join(array.astype(form).tobytes() for array, form in self._arrays())
        return json.dumps(about).encode() + b"\n" + zlib.compress(body, 1)

    @classmethod
    def from_bytes(cls, data: bytes) -> "Window":
        """Read what `to_bytes` wrote. Raises `BadWindow`."""
        head, _, body = data.partition(b"\n")
        try:
            digest, rows, start_us, end_us, cells, numbers = json.loads(head)
            raw = zlib.decompress(body)
            counts = np.frombuffer(raw, "<i8", cells).astype(np.int64)
            below = np.frombuffer(raw, "<f8", numbers, cells * 8).astype(np.float64)
            above = np.frombuffer(raw, "<f8", numbers, (cells + numbers) * 8).astype(np.float64)
        except (ValueError, TypeError, zlib.error) as error:
            raise BadWindow(f"not a saved window: {error}") from error
        return cls(digest, rows, start_us, end_us, counts, below, above)

    def _arrays(self) -> tuple[tuple[npt.NDArray[np.generic], str], ...]:
        return (self.counts, "<i8"), (self.below, "<f8"), (self.above, "<f8")


def _sums(at: Ints, values: Floats, numbers: int) -> Floats:
    return np.asarray(np.bincount(at, weights=values, minlength=numbers)[:numbers], np.float64)


class TumblingWindows:
    """One version's stream of rows, cut into windows of exactly `window_rows` rows each.

    `open` is the window that still fills. A window also closes on time, `max_age_seconds` after its first row was
    counted (`opened_at`, a monotonic time), if it has `min_rows`: so that it closes when traffic stops.
    """

    def __init__(
        self,
        layout: CountLayout,
        window_rows: int = 1000,
        *,
        max_age_seconds: float = 0.0,
        min_rows: int = 100,
        open_window: Window | None = None,
    ) -> None:
        if window_rows < 1:
            raise ValueError("a window needs at least one row")
        if open_window is not None and open_window.digest != layout.digest:
            raise BadWindow("the saved window was counted against another baseline")
        self.layout = layout
        self.window_rows = window_rows
        self.max_age_seconds = max_age_seconds
        self.min_rows = min_rows
        self.open = open_window or Window.empty(layout)
        self.opened_at: float | None = None

    def add(self, block: Block, now: float = 0.0) -> list[Window]:
        """Count `block`; the windows that it completed, oldest first. `now` is a monotonic time in seconds."""
        closed, start = [], 0
        while start < len(block):
            stop = min(len(block), start + max(1, self.window_rows - self.open.rows))
            if self.opened_at is None:
                self.opened_at = now
            self.open = self.open.merge(Window.of(self.layout, block, start, stop))
            start = stop
            if self.open.rows >= self.window_rows:
                closed.append(self._close())
        return closed

    def close_if_due(self, now: float) -> Window | None:
        """The open window, closed, if it is old enough and holds enough rows; else None."""
        if self.open.rows and self.opened_at is None:
            self.opened_at = now
        if not self.max_age_seconds or self.opened_at is None or self.open.rows < self.min_rows:
            return None
        return self._close() if now - self.opened_at >= self.max_age_seconds else None

    def _close(self) -> Window:
        full, self.open, self.opened_at = self.open, Window.empty(self.layout), None
        return full
