"""Repeats, gaps and missing ranges of one incarnation."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from schemas.predictions import Gap
from services.monitor.watermark import MAX_MISSING_RANGES, Watermark, advance


def gap(first: int, rows: int) -> Gap:
    return Gap(first_sequence=first, rows=rows, reason="budget")


def test_rows_in_order_are_all_new() -> None:
    passage = advance(advance(Watermark(), 0, 10).mark, 10, 5)
    assert (passage.mark.next_sequence, passage.repeated, passage.missing, passage.shed) == (15, 0, 0, 0)


def test_a_gap_may_be_announced_before_with_or_after_the_rows_that_follow_it() -> None:
    before = advance(Watermark(10), 10, 0, [gap(10, 5)])
    assert before.shed == 5
    assert advance(before.mark, 15, 1).missing == 0
    with_it = advance(Watermark(10), 15, 1, [gap(10, 5)])
    assert (with_it.shed, with_it.missing) == (5, 0)
    after = advance(Watermark(5), 5, 5, [gap(10, 5)])
    assert (after.shed, after.mark.next_sequence) == (5, 15)


def test_a_gap_further_on_waits_for_its_place() -> None:
    told_early = advance(Watermark(0), 0, 10, [gap(20, 5)])
    assert told_early.shed == 0
    then = advance(told_early.mark, 10, 10)
    assert (then.shed, then.mark.next_sequence) == (5, 25)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from(["sent", "shed", "lost"])), min_size=1, max_size=30),
    st.lists(st.integers(0, 29), max_size=10),
)
def test_every_row_is_counted_missing_or_shed_exactly_once(parts: list[tuple[int, str]], repeats: list[int]) -> None:
    """Whatever is sent again; what is lost at the very end cannot be seen yet."""
    batches, place, last_seen = [], 0, 0
    expected = {"sent": 0, "shed": 0, "lost": 0}
    pending: list[tuple[int, int, list[Gap]]] = []
    for rows, fate in parts:
        if fate == "sent":
            pending.append((place, rows, []))
        elif fate == "shed":
            pending.append((place, 0, [gap(place, rows)]))
        place += rows
        if fate != "lost":
            last_seen = place
        expected[fate] += rows
    for number, batch in enumerate(pending):
        batches.append(batch)
        if number in repeats:
            batches.append(batch)
    mark, counted, missing, shed = Watermark(), 0, 0, 0
    for first, rows, gaps in batches:
        passage = advance(mark, first, rows, gaps)
        mark = passage.mark
        counted += rows - passage.repeated
        missing += passage.missing
        shed += passage.shed
    assert counted == expected["sent"]
    assert mark.next_sequence + sum(b - a for a, b in mark.pending) <= last_seen
    assert counted + missing + shed == mark.next_sequence
    assert missing == sum(b - a for a, b in mark.missing)


@given(
    st.lists(st.tuples(st.integers(1, 20), st.booleans()), min_size=1, max_size=40),
    st.randoms(use_true_random=False),
)
def test_batches_that_come_late_in_any_order_count_exactly_once(parts: list[tuple[int, bool]], random: Random) -> None:
    in_time: list[tuple[int, int]] = []
    late: list[tuple[int, int]] = []
    place = 0
    for rows, at_once in parts:
        (in_time if at_once else late).append((place, rows))
        place += rows
    in_time.append((place, 1))
    late += random.choices(in_time + late, k=3)
    random.shuffle(late)
    mark, seen, missing = Watermark(), Counter[int](), 0
    for first, rows in in_time + late:
        passage = advance(mark, first, rows)
        mark = passage.mark
        missing += passage.missing - passage.found
        new = [first + row for start, stop in passage.new for row in range(start, stop)]
        assert passage.repeated == rows - len(new)
        seen.update(new)
    assert seen == Counter(range(place + 1))
    assert missing == 0
    assert mark == Watermark(place + 1)


def test_a_late_batch_may_tell_that_missing_rows_had_been_shed() -> None:
    later = advance(Watermark(), 30, 10)
    assert later.missing == 30
    late = advance(later.mark, 20, 10, [gap(10, 10)])
    assert (late.new, late.shed, late.found, late.mark.missing) == (((0, 10),), 10, 20, ((0, 10),))
    again = advance(late.mark, 20, 10, [gap(10, 10)])
    assert (again.new, again.shed, again.found, again.repeated) == ((), 0, 0, 10)


def test_the_oldest_of_very_many_missing_ranges_are_lost_and_said_to_be() -> None:
    mark, lost = Watermark(), 0
    for number in range(MAX_MISSING_RANGES + 2):
        passage = advance(mark, number * 10 + 5, 5)
        mark, lost = passage.mark, lost + passage.lost
    assert len(mark.missing) == MAX_MISSING_RANGES
    assert lost == 10
    assert advance(mark, 0, 10).new == ()
    assert advance(mark, 20, 10).new == ((0, 5),)
