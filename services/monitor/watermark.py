"""How far one incarnation's log has been counted: repeats are dropped, missing ranges are seen.

An incarnation numbers its rows 0, 1, 2, ...; delivery is at least once and in order. Rows that were shed on purpose are
announced as gaps and are not missing.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from schemas.predictions import Gap

MAX_PENDING_GAPS = 1000


@dataclass(frozen=True)
class Watermark:
    """`next_sequence` is the first that has not been passed; `pending` are announced gaps at or after it, ascending."""

    next_sequence: int = 0
    pending: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Passage:
    """What a batch did: its first `repeated` rows were counted before; `missing` and `shed` lie before or within it."""

    mark: Watermark
    repeated: int
    missing: int
    shed: int


def advance(mark: Watermark, first: int, rows: int, gaps: Iterable[Gap] = ()) -> Passage:
    """The watermark after a batch of `rows` rows from the sequence number `first` that announces `gaps`.

    >>> passage = advance(Watermark(100), 90, 20)
    >>> passage.mark.next_sequence, passage.repeated
    (110, 10)
    >>> advance(Watermark(100), 130, 10, [Gap(first_sequence=100, rows=20, reason="budget")]).missing
    10
    """
    place = mark.next_sequence
    announced = {(gap.first_sequence, gap.first_sequence + gap.rows) for gap in gaps if gap.rows > 0}
    pending = sorted({*mark.pending, *announced})
    end = max(place, first + rows) if rows else place
    for start, stop in pending:  # a gap that follows without a break is passed too
        if start <= end < stop and (rows or start <= place):
            end = stop
    shed = sum(max(0, min(stop, end) - max(start, place)) for start, stop in _merged(pending))
    repeated = min(rows, max(0, place - first))
    counted = rows - repeated
    missing = max(0, end - place - shed - counted)
    left = tuple(gap for gap in pending if gap[1] > end)[:MAX_PENDING_GAPS]
    return Passage(Watermark(end, left), repeated, missing, shed)


def _merged(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for start, stop in ranges:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], stop))
        else:
            merged.append((start, stop))
    return merged
