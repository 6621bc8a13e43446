"""How far one incarnation's log has been counted: repeats are dropped, missing ranges are seen, and count if they come.

An incarnation numbers its rows 0, 1, 2, ...; delivery is at least once and in order, but for a dead letter that
somebody replays. Rows that were shed on purpose are announced as gaps and are not missing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.predictions import Gap

MAX_PENDING_GAPS = 1000
MAX_MISSING_RANGES = 64

Range = tuple[int, int]
"""(first, one past the last)."""


@dataclass(frozen=True)
class Watermark:
    """`next_sequence` is the first that has not been passed; `pending` are announced gaps at or after it, ascending.

    `missing` are ranges before it that never came, ascending: the newest `MAX_MISSING_RANGES`. `sampled_out` are the
    rows, by version, that the log has told of leaving out.
    """

    next_sequence: int = 0
    pending: tuple[Range, ...] = ()
    missing: tuple[Range, ...] = ()
    sampled_out: Mapping[str, int] = field(default_factory=dict)

    def hear(self, totals: Mapping[str, int]) -> tuple["Watermark", dict[str, int]]:
        """The watermark after a batch that tells of these totals, and what of them is news, by version.

        >>> mark, news = Watermark(sampled_out={"1.0.0": 5}).hear({"1.0.0": 7, "1.0.1": 1})
        >>> news, mark.hear({"1.0.0": 6})[1]
        ({'1.0.0': 2, '1.0.1': 1}, {})
        """
        news = {
            version: total - before for version, total in totals.items() if total > (before := self._heard(version))
        }
        return replace(self, sampled_out={**self.sampled_out, **{v: totals[v] for v in news}}) if news else self, news

    def _heard(self, version: str) -> int:
        return self.sampled_out.get(version, 0)


@dataclass(frozen=True)
class Passage:
    """What a batch did: `new` are the ranges of its rows (by index) that count, the other `repeated` ones were counted
    before. `missing` and `shed` rows lie before or within it; `found` rows had been missing and are not any more;
    `lost` ones are still missing and would be taken for repeats from now on.
    """

    mark: Watermark
    new: tuple[Range, ...]
    repeated: int
    missing: int
    shed: int
    found: int
    lost: int


def advance(mark: Watermark, first: int, rows: int, gaps: Iterable[Gap] = ()) -> Passage:
    """The watermark after a batch of `rows` rows from the sequence number `first` that announces `gaps`.

    >>> passage = advance(Watermark(100), 90, 20)
    >>> passage.mark.next_sequence, passage.repeated, passage.new
    (110, 10, ((10, 20),))
    >>> passage = advance(Watermark(100), 130, 10, [Gap(first_sequence=100, rows=20, reason="budget")])
    >>> passage.missing, passage.mark.missing
    (10, ((120, 130),))
    >>> passage = advance(passage.mark, 115, 20)
    >>> passage.found, passage.repeated, passage.new
    (10, 10, ((5, 15),))
    """
    place = mark.next_sequence
    batch = (first, first + rows)
    announced = {(gap.first_sequence, gap.first_sequence + gap.rows) for gap in gaps if gap.rows > 0}
    pending = sorted({*mark.pending, *announced})
    end = max(place, batch[1]) if rows else place
    for start, stop in pending:  # a gap that follows without a break is passed too
        if start <= end < stop and (rows or start <= place):
            end = stop
    passed = [(max(start, place), min(stop, end)) for start, stop in _merged(pending) if start < end and stop > place]
    still = _without(mark.missing, batch)
    came = [*_within(mark.missing, batch), *_within([(place, end)], batch)]
    told = still
    for gap in announced:  # a replayed batch may say that what was missing had been shed
        told = _without(told, gap)
    missing: Sequence[Range] = _without([(place, end)], batch)
    for gap in passed:
        missing = _without(missing, gap)
    known = _merged([*told, *missing])
    left = tuple(gap for gap in pending if gap[1] > end)[:MAX_PENDING_GAPS]
    return Passage(
        mark=Watermark(end, left, tuple(known[-MAX_MISSING_RANGES:]), mark.sampled_out),
        new=tuple((start - first, stop - first) for start, stop in _merged(came)),
        repeated=rows - _size(came),
        missing=_size(missing),
        shed=_size(passed) + _size(still) - _size(told),
        found=_size(mark.missing) - _size(told),
        lost=_size(known[:-MAX_MISSING_RANGES]),
    )


def _size(ranges: Iterable[Range]) -> int:
    return sum(stop - start for start, stop in ranges)


def _within(ranges: Iterable[Range], one: Range) -> list[Range]:
    """The parts that lie in `one`."""
    cut = ((max(start, one[0]), min(stop, one[1])) for start, stop in ranges)
    return [(start, stop) for start, stop in cut if start < stop]


def _without(ranges: Iterable[Range], one: Range) -> list[Range]:
    """The parts that lie outside of `one`."""
    parts = (part for start, stop in ranges for part in ((start, min(stop, one[0])), (max(start, one[1]), stop)))
    return [(start, stop) for start, stop in parts if start < stop] if one[0] < one[1] else list(ranges)


def _merged(ranges: Iterable[Range]) -> list[Range]:
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged
