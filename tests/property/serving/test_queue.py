"""The queue of a version: everyone in order, nobody starved, nothing lost or counted twice."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.serving.queue import PATIENCE_RUNS, Full, Pending, PendingQueue, Priority

ASKED = (Priority.HIGH, Priority.NORMAL, Priority.LOW)
arrivals = st.lists(st.tuples(st.sampled_from(ASKED), st.integers(1, 5)), max_size=40)


@contextmanager
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    try:
        yield made
    finally:
        made.close()


def pending(of: asyncio.AbstractEventLoop, priority: Priority, count: int = 1) -> Pending:
    future: asyncio.Future[Any] = of.create_future()
    return Pending(count, None, None, "r", 0.0, future, priority=priority)


@given(arrivals, st.integers(1, 12))
def test_all_that_queued_runs_once_and_in_order_of_arrival_within_its_class(
    asked: list[tuple[Priority, int]], limit: int
) -> None:
    with loop() as of:
        queue = PendingQueue()
        requests = [pending(of, priority, count) for priority, count in asked]
        for request in requests:
            assert queue.push(request, 1_000) == []
        assert queue.rows == sum(count for _, count in asked)
        ran: list[Pending] = []
        while queue:
            batch = queue.take(limit)
            assert batch
            assert len(batch) == 1 or sum(p.count for p in batch) <= limit
            ran += batch
        assert queue.rows == 0
        for priority in ASKED:
            assert [p for p in ran if p.priority is priority] == [p for p in requests if p.priority is priority]


@given(arrivals)
def test_a_run_takes_high_before_normal_before_low(asked: list[tuple[Priority, int]]) -> None:
    with loop() as of:
        queue = PendingQueue()
        for priority, count in asked:
            queue.push(pending(of, priority, count), 1_000)
        batch = queue.take(10_000)
        assert [p.priority for p in batch] == sorted(priority for priority, _ in asked)


@given(st.integers(1, 4), st.lists(st.sampled_from((Priority.HIGH, Priority.NORMAL)), min_size=60, max_size=60))
def test_a_waiting_class_is_passed_over_in_a_bounded_number_of_runs(limit: int, above: list[Priority]) -> None:
    """However much of higher priority arrives before each run."""
    with loop() as of:
        queue = PendingQueue()
        low = pending(of, Priority.LOW, limit)  # it fits only when its class goes first
        queue.push(low, 10_000)
        for run, priority in enumerate(above):
            for _ in range(limit):
                queue.push(pending(of, priority), 10_000)
            if low in queue.take(limit):
                assert run <= 2 * PATIENCE_RUNS
                return
        raise AssertionError("the low request never ran")


def test_the_starved_class_gets_one_run_in_five() -> None:
    with loop() as of:
        queue = PendingQueue()
        for _ in range(100):
            queue.push(pending(of, Priority.HIGH), 10_000)
            queue.push(pending(of, Priority.LOW), 10_000)
        runs = [queue.take(1)[0].priority for _ in range(20)]
        assert [i for i, priority in enumerate(runs) if priority is Priority.LOW] == [4, 9, 14, 19]


@given(arrivals, st.sampled_from(ASKED), st.integers(1, 30), st.integers(1, 40))
def test_a_full_queue_gives_way_to_higher_priority_only(
    asked: list[tuple[Priority, int]], priority: Priority, count: int, limit: int
) -> None:
    with loop() as of:
        queue = PendingQueue()
        waiting: list[Pending] = []
        for one, rows in asked:
            try:
                queue.push(pending(of, one, rows), 10_000)
                waiting.append(queue._lines[one][-1])
            except Full:
                continue
        new = pending(of, priority, count)
        before = queue.rows
        try:
            gone = queue.push(new, limit)
        except Full:
            lower = sum(p.count for p in waiting if p.priority > priority)
            assert lower < min(before + count - limit, before)
            assert queue.rows == before
            return
        assert all(p.priority > priority for p in gone)
        assert queue.rows == before + count - sum(p.count for p in gone)
        assert queue.rows <= limit or queue.rows == count
        for victim in gone:  # nobody younger of its class, nobody of a lower class stays in its place
            stay = [p for p in waiting if p not in gone]
            assert not any(p.priority > victim.priority for p in stay)
            assert not any(p.priority is victim.priority and waiting.index(p) > waiting.index(victim) for p in stay)


@pytest.mark.parametrize("swept", [False, True])
def test_what_nobody_waits_for_makes_room_and_does_not_run(swept: bool) -> None:
    with loop() as of:
        queue = PendingQueue()
        stays, gone = pending(of, Priority.NORMAL), pending(of, Priority.NORMAL)
        queue.push(stays, 2)
        queue.push(gone, 2)
        gone.future.cancel()
        if swept:
            queue.abandoned()
            later = pending(of, Priority.NORMAL)
            assert queue.push(later, 2) == []
            assert queue.take(10) == [stays, later]
        else:
            assert queue.take(10) == [stays]
        assert (queue.dropped, queue.rows) == (1, 0)


def test_a_shadow_runs_when_nothing_else_waits_and_alone() -> None:
    with loop() as of:
        queue = PendingQueue()
        shadow, low = pending(of, Priority.SHADOW, 7), pending(of, Priority.LOW)
        queue.push(shadow, 1)
        queue.push(low, 1)
        assert queue.rows == 1
        assert queue.take(10) == [low]
        assert queue.take(10) == [shadow]
        assert not queue
