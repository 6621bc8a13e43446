"""The batcher: nobody waits without need, nobody is harmed by another."""

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ThreadPoolExecutor

import numpy as np
import pytest

from services.kernel.errors import Failed, InvalidInput, Overloaded, TooLarge, TrimtabError, Unavailable
from services.serving.batcher import Batcher, BatchLimits
from services.serving.columns import Columns, Layout
from services.serving.expectation import BLOCKING_SECONDS
from services.serving.queue import Pending
from services.serving.runtime import Array, RuntimeFailed, RuntimeLost
from tests.serving_models import VECTOR
from tests.waiting import until


class Doubling:
    """A runtime that doubles its input, notes its batches, fails on 13, has a defect at 17 and may be held up.

    One with an `executor` is lost at 23.
    """

    executor: Executor | None = None
    provider = "none"
    outside_bytes = 0

    def __init__(self, max_rows: int | None = None) -> None:
        self.max_rows = max_rows
        self.batches: list[int] = []
        self.threads: list[int] = []
        self.gate = threading.Event()
        self.gate.set()
        self.second = threading.Event()

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        assert self.gate.wait(10)
        self.batches.append(rows)
        self.threads.append(threading.get_ident())
        if len(self.batches) == 2:
            self.second.set()
        if (feed["x"] == 13).any():
            raise RuntimeFailed("the model does not like 13")
        if (feed["x"] == 17).any():
            raise KeyError("17")
        if (feed["x"] == 23).any():
            raise Unavailable("the model's process was ended by SIGKILL")
        return [feed["x"] * 2]

    def close(self) -> None:
        """Nothing to free."""


class Collecting:
    """Resolves futures with the rows of their own; has a defect at 19."""

    def finish(self, batch: list[Pending], columns: Columns, outputs: list[Array]) -> None:
        if (outputs[0] == 2 * 19).any():
            raise KeyError("19")
        start = 0
        for pending in batch:
            pending.future.set_result(outputs[0][start : start + pending.count])
            start += pending.count

    def fail(self, pending: Pending, columns: Columns, error: TrimtabError) -> None:
        pending.future.set_exception(error)

    def refuse(self, batch: list[Pending], error: TrimtabError) -> None:
        for pending in batch:
            pending.future.set_exception(error)


def made(runtime: Doubling, executor: ThreadPoolExecutor, **limits: int) -> Batcher:
    return Batcher(runtime, Layout(VECTOR), Collecting(), executor, BatchLimits(**limits))


def ask(batcher: Batcher, value: float, rows: int = 1) -> "asyncio.Future[Array]":
    return submitted(batcher, value, rows)


def submitted(batcher: Batcher, value: float, rows: int = 1, *, at_once: bool = False) -> "asyncio.Future[Array]":
    future: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
    x = np.full((rows, 4), value, dtype=np.float32)
    pending = Pending(rows, None, Columns(rows, None, [x]), "r", time.perf_counter(), future)
    batcher.submit(pending, at_once=at_once)
    return future


async def test_a_request_that_is_alone_is_answered_at_once(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    batcher = made(runtime, executor)
    alone, others = submitted(batcher, 1.0, at_once=True), [ask(batcher, 2.0), submitted(batcher, 3.0, at_once=True)]
    assert alone.done()
    assert not any(other.done() for other in others)  # somebody waits for the end of the turn already
    await asyncio.gather(*others)
    assert runtime.batches == [1, 2]
    batcher.learn(1, 10 * BLOCKING_SECONDS)
    batcher.learn(1, 10 * BLOCKING_SECONDS)
    slow = submitted(batcher, 4.0, at_once=True)
    assert not slow.done()
    assert batcher.busy
    assert float((await slow)[0, 0]) == 8.0


async def test_what_queues_in_one_turn_runs_together_on_the_loop(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    batcher = made(runtime, executor)
    answers = await asyncio.gather(*(ask(batcher, i) for i in range(10)))
    assert [float(a[0, 0]) for a in answers] == [2.0 * i for i in range(10)]
    assert runtime.batches == [10]
    assert runtime.threads == [threading.get_ident()]
    assert batcher.idle


async def test_a_slow_model_runs_in_a_thread_and_the_next_batch_queues(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    batcher = made(runtime, executor)
    batcher.learn(1, 10 * BLOCKING_SECONDS)
    runtime.gate.clear()
    first = ask(batcher, 1)
    await asyncio.sleep(0)
    assert batcher.busy
    later = [ask(batcher, i) for i in range(2, 6)]
    assert batcher.queued_rows == 4
    runtime.gate.set()
    await asyncio.gather(first, *later)
    assert runtime.batches == [1, 4]
    assert threading.get_ident() not in runtime.threads


@pytest.mark.parametrize("slow", [False, True])
async def test_a_failing_request_fails_alone(executor: ThreadPoolExecutor, slow: bool) -> None:
    batcher = made(Doubling(), executor)
    if slow:
        batcher.learn(3, 1.0)
    answers = await asyncio.gather(*(ask(batcher, v) for v in (1, 13, 3)), return_exceptions=True)
    assert isinstance(answers[1], RuntimeFailed)
    assert [float(a[0, 0]) for a in (answers[0], answers[2]) if isinstance(a, np.ndarray)] == [2.0, 6.0]


@pytest.mark.parametrize("slow", [False, True])
async def test_a_defect_is_answered_logged_and_outlived(
    executor: ThreadPoolExecutor, caplog: pytest.LogCaptureFixture, slow: bool
) -> None:
    batcher = made(Doubling(), executor)
    if slow:
        batcher.learn(1, 1.0)
    in_the_run = await asyncio.wait_for(asyncio.gather(*(ask(batcher, v) for v in (1, 17)), return_exceptions=True), 10)
    assert isinstance(in_the_run[0], np.ndarray)
    after_it = await asyncio.wait_for(asyncio.gather(ask(batcher, 19), return_exceptions=True), 10)
    for answer in (in_the_run[1], after_it[0]):
        assert isinstance(answer, Failed)
        assert answer.code == "internal"
    errors = [record.exc_info[1] for record in caplog.records if record.exc_info]
    assert {str(error) for error in errors} == {"'17'", "'19'"}
    assert float((await ask(batcher, 3))[0, 0]) == 6.0
    await asyncio.wait_for(batcher.drained(), 10)


async def test_a_runtime_that_waits_has_a_thread_of_its_own(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    with ThreadPoolExecutor(1) as own:
        runtime.executor = own
        batcher = made(runtime, executor)
        await ask(batcher, 1)
        assert own.submit(threading.get_ident).result() == runtime.threads[0]
    assert threading.get_ident() not in runtime.threads


async def test_a_batch_that_its_process_was_lost_with_is_not_sent_again(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    with ThreadPoolExecutor(1) as own:
        runtime.executor = own
        batcher = made(runtime, executor)
        lost = await asyncio.gather(*(ask(batcher, value) for value in (1, 23, 2)), return_exceptions=True)
        assert [type(error) for error in lost] == [RuntimeLost] * 3
        assert len({id(error) for error in lost}) == 3
        assert runtime.batches == [3]
        assert float((await ask(batcher, 4))[0, 0]) == 8.0


async def test_a_row_with_nan_is_taken_out_before_the_run(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    batcher = made(runtime, executor)
    answers = await asyncio.gather(*(ask(batcher, v) for v in (1, float("nan"), 3)), return_exceptions=True)
    assert isinstance(answers[1], InvalidInput)
    assert "'x'" in answers[1].detail
    assert runtime.batches == [2]


async def test_a_request_that_hung_up_does_not_run(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    batcher = made(runtime, executor)
    gone, stays = ask(batcher, 1), ask(batcher, 2)
    gone.cancel()
    await stays
    assert runtime.batches == [1]


async def test_the_queue_is_bounded(executor: ThreadPoolExecutor) -> None:
    batcher = made(Doubling(), executor, queue_rows=3, request_rows=10)
    accepted = [ask(batcher, i) for i in range(3)]
    with pytest.raises(Overloaded) as refused:
        ask(batcher, 9)
    assert refused.value.retry_after_seconds > 0
    with pytest.raises(TooLarge):
        ask(batcher, 9, rows=11)
    await asyncio.gather(*accepted)


async def test_a_large_request_does_not_join_others(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    batcher = made(runtime, executor, batch_rows=8)
    await asyncio.gather(ask(batcher, 1, rows=5), ask(batcher, 2, rows=20), ask(batcher, 3, rows=1))
    assert runtime.batches == [5, 20, 1]


async def test_a_graph_with_a_fixed_batch_axis_runs_row_by_row(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling(max_rows=1)
    answer = await ask(made(runtime, executor), 4, rows=3)
    assert answer.shape == (3, 4)
    assert runtime.batches == [1, 1, 1]


def test_expected_time_is_learnt_and_extrapolated(executor: ThreadPoolExecutor) -> None:
    batcher = made(Doubling(), executor)
    assert batcher.expected_seconds(1) == 0.0
    batcher.learn(1, 0.001)
    assert batcher.expected_seconds(1) == 0.001
    assert batcher.expected_seconds(8) == pytest.approx(0.008)
    for _ in range(100):
        batcher.learn(8, 0.002)
    assert batcher.expected_seconds(8) == pytest.approx(0.002)
    batcher.learn(8, 1.0)
    assert batcher.expected_seconds(8) < BLOCKING_SECONDS
    for _ in range(100):
        batcher.learn(8, 0.02)
    assert batcher.expected_seconds(8) == pytest.approx(0.02)


def test_one_long_run_says_nothing_and_a_second_in_a_row_counts_whole(executor: ThreadPoolExecutor) -> None:
    batcher = made(Doubling(), executor)
    batcher.learn(1, 0.00001)
    for _ in range(5):  # a machine that is busy now and then
        batcher.learn(1, 0.03)
        assert batcher.expected_seconds(1) < BLOCKING_SECONDS
        batcher.learn(1, 0.00001)
    batcher.learn(1, 0.1)
    batcher.learn(1, 0.1)
    assert batcher.expected_seconds(1) == 0.1


async def busy(batcher: Batcher) -> bool:
    return batcher.busy


async def test_the_next_batch_is_with_the_runtime_while_the_last_one_is_answered(executor: ThreadPoolExecutor) -> None:
    runtime = Doubling()
    overlapped: list[bool] = []

    class Waiting(Collecting):
        """Answers the first batch only once the second one runs."""

        def finish(self, batch: list[Pending], columns: Columns, outputs: list[Array]) -> None:
            if not overlapped:
                overlapped.append(runtime.second.wait(10))
            super().finish(batch, columns, outputs)

    batcher = Batcher(runtime, Layout(VECTOR), Waiting(), executor, BatchLimits())
    for rows in (1, 2, 4):
        batcher.learn(rows, 10 * BLOCKING_SECONDS)
    runtime.gate.clear()
    first = ask(batcher, 1.0)
    await until(lambda: busy(batcher), 10, "the first batch is with the runtime")
    others = [ask(batcher, 2.0), ask(batcher, 3.0)]
    runtime.gate.set()
    answers = await asyncio.gather(first, *others)
    assert [float(answer[0, 0]) for answer in answers] == [2.0, 4.0, 6.0]
    assert (runtime.batches, overlapped) == ([1, 2], [True])
    await batcher.drained()
