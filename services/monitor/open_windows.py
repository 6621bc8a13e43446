"""A version's open window, which may lie in several partitions, and how rows fill and close it.

Batches of a model share its key, hence one partition; records without a key are spread over all of them. Each partition
saves the rows it brought, so that rows and offset move together; the window is full when the *sum* over the partitions
of this process is. Then it closes as one, and the others' shares are emptied in the same transaction.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from services.monitor.batch_rows import chunks
from services.monitor.layout import CountLayout
from services.monitor.model import DriftDetection
from services.monitor.verdicts import ClosedWindow, judge_windows
from services.monitor.watched import Watched
from services.monitor.window import TumblingWindows, Window


@dataclass(frozen=True)
class OpenWindow:
    """One partition's share; `opened_at` in seconds since 1970, `last_closed` the last full window as bytes."""

    window: Window
    opened_at: float | None = None
    last_closed: bytes | None = None
    skew: Mapping[str, int] = field(default_factory=dict)
    redacted: frozenset[str] = frozenset()

    @classmethod
    def empty(cls, layout: CountLayout) -> "OpenWindow":
        """A share without rows."""
        return cls(Window.empty(layout))

    def emptied(self) -> "OpenWindow":
        """After the window closed: nothing left but the last full one."""
        return OpenWindow(self.window.without_rows(), last_closed=self.last_closed)


@dataclass(frozen=True)
class Counted:
    """The share after some rows, and the windows that closed; if any did, all other shares are empty now."""

    share: OpenWindow
    closed: list[ClosedWindow]


def pool(share: OpenWindow, others: Sequence[OpenWindow]) -> OpenWindow:
    """All shares as one."""
    window, skew, redacted = share.window, Counter(share.skew), set(share.redacted)
    for other in others:
        window = window.merge(other.window)
        skew.update(other.skew)
        redacted |= other.redacted
    times = [one.opened_at for one in (share, *others) if one.opened_at is not None]
    return OpenWindow(window, min(times, default=None), share.last_closed, dict(skew), frozenset(redacted))


def count(
    watched: Watched,
    plan: DriftDetection,
    share: OpenWindow,
    others: Sequence[OpenWindow],
    batches: Sequence[pa.RecordBatch],
    now: float,
    redacted: frozenset[str] = frozenset(),
) -> Counted:
    """Count `batches` into the share; close and judge every window that fills. O(rows x features).

    `redacted` are the features of these batches whose values are not in the log; the share names them already.
    """
    layout = watched.layout
    assert layout is not None
    pooled = pool(share, others)
    windows = TumblingWindows(layout, plan.window_size, open_window=pooled.window)
    windows.opened_at = pooled.opened_at
    closed: list[Window] = []
    own = share.window
    for some in chunks(batches):
        block = layout.place(some)
        filled = windows.add(block, now)
        if others and not closed and not filled:
            own = own.merge(Window.of(layout, block))
        closed += filled
    if not closed:
        opened_at = share.opened_at if share.opened_at is not None else windows.opened_at
        return Counted(replace(share, window=own if others else windows.open, opened_at=opened_at), [])
    judged = judge_windows(watched, plan, closed, pooled.skew, pooled.redacted)
    rest = redacted if windows.open.rows else frozenset[str]()
    return Counted(OpenWindow(windows.open, windows.opened_at, closed[-1].to_bytes(), redacted=rest), judged)


def close(watched: Watched, plan: DriftDetection, share: OpenWindow, others: Sequence[OpenWindow]) -> Counted:
    """Close the window as it is, all shares together."""
    assert watched.layout is not None
    pooled = pool(share, others)
    judged = judge_windows(watched, plan, [pooled.window], pooled.skew, pooled.redacted)
    return Counted(OpenWindow(Window.empty(watched.layout), last_closed=pooled.window.to_bytes()), judged)
