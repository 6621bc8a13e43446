"""Micro-batching without added delay.

A request never waits for company: what has queued within one turn of the event loop, or while the runtime was busy,
runs as one batch. Where it runs follows from measured times. A batch that is expected to take less than
`BLOCKING_SECONDS` runs on the event loop's own thread, since handing a 10 us call to a thread costs more than the call;
a longer one runs in a thread (ONNX Runtime releases the GIL) while the next batch queues. A runtime that waits for
another process has a thread of its own, so that one that hangs takes none from the others.

No request can harm another: rows are validated before they get here, rows with NaN, infinities or values that the
input contract refuses are taken out before the run, and a batch that raises is run again one request at a time.
Whatever goes wrong, a defect included, everyone who waits gets an answer and the next batch runs. Who goes first is
`queue.py`'s; copies for a shadow run only when nothing else waits, on the event loop only when they are known to be
very short, else in a thread of their own.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.kernel.errors import Failed, Overloaded, TooLarge, TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.serving.clauses import Clauses
from services.serving.columns import Columns, Layout
from services.serving.contract import Contract
from services.serving.expectation import BLOCKING_SECONDS, Expectation
from services.serving.measures import RunTimes
from services.serving.queue import Full, Pending, PendingQueue, Priority
from services.serving.runtime import Array, Runtime, RuntimeLost

log = get_logger(__name__)

SHADOW_BLOCKING_SECONDS = 0.0005
"""The same of a run that nobody waits for."""


class Finisher(Protocol):
    """What becomes of a batch that ran: it is logged, then every future in it is resolved. Called on the event loop."""

    def finish(self, batch: list[Pending], columns: Columns, outputs: list[Array]) -> None:
        """`outputs` hold one entry a row of `columns`, which are the rows of `batch` in order."""
        ...

    def fail(self, pending: Pending, columns: Columns, error: TrimtabError) -> None:
        """`pending` failed, for a reason of its own (`InvalidInput`) or of the server's (`Failed`)."""
        ...

    def refuse(self, batch: list[Pending], error: TrimtabError) -> None:
        """Those of `batch` who still wait get `error`; nothing is logged of their rows."""
        ...


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one version's batcher.

    `batch_rows`: most rows of one run (one request may exceed it alone); `queue_rows`: rows that may wait;
    `request_rows`: most rows of one request.
    """

    batch_rows: int = 1024
    queue_rows: int = 8192
    request_rows: int = 100_000


class Batcher:
    """Runs one version's requests in order. Lives on one event loop; `executor` takes the runs that would block it."""

    def __init__(
        self,
        runtime: Runtime,
        layout: Layout,
        finisher: Finisher,
        executor: Executor,
        limits: BatchLimits,
        shadow_executor: Executor | None = None,
    ) -> None:
        self._runtime = runtime
        self._layout = layout
        self.contract = Contract(layout, Clauses())
        self._finisher = finisher
        self._waits = runtime.executor is not None
        self._executor = runtime.executor or executor
        self._shadow_executor = runtime.executor or shadow_executor or executor
        self.queue = PendingQueue()
        self._probes: deque[tuple[Columns, asyncio.Future[list[Array]]]] = deque()
        self._running: asyncio.Task[None] | None = None
        self._in_thread: list[Pending] = []
        self._running_rows = 0
        self._scheduled = False
        self.expectation = Expectation()
        self._emptied = asyncio.Event()
        self.times = RunTimes(0.0)
        """Of the batch that is being finished."""
        self.limits = limits

    @property
    def limits(self) -> BatchLimits:
        """The bounds in force; they may be replaced at any time."""
        return self._limits

    @limits.setter
    def limits(self, limits: BatchLimits) -> None:
        self._limits = limits
        self._batch_rows = min(limits.batch_rows, self._runtime.max_rows or limits.batch_rows)

    @property
    def queued_rows(self) -> int:
        """Rows that wait, a shadow's apart."""
        return self.queue.rows

    @property
    def busy(self) -> bool:
        """Whether a run is under way in a thread, so that a request submitted now has to wait for it."""
        return self._running is not None

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or running."""
        return not self.queue and not self._probes and self._running is None

    async def drained(self) -> None:
        """Return once nothing is queued or running."""
        while not self.idle:
            self._emptied.clear()
            await self._emptied.wait()

    def must_wait(self, rows: int) -> bool:
        """Whether `rows` submitted now would wait for a run to end, so that it is worth watching whether the caller
        is still there."""
        return self._running is not None or self.queue.rows + rows > self._batch_rows

    def submit(self, pending: Pending, *, at_once: bool = False) -> None:
        """Queue `pending`. `at_once`: nobody else is coming in this turn of the event loop, so do not wait for its end.

        Raises `TooLarge`, or `Overloaded` when the queue is full."""
        if pending.count > self._limits.request_rows:
            raise TooLarge(f"{pending.count} rows in one request; at most {self._limits.request_rows} are taken")
        try:
            displaced = self.queue.push(pending, self._limits.queue_rows)
        except Full:
            raise self._overloaded(f"{self.queue.rows} rows wait for this model already") from None
        if displaced:
            self._finisher.refuse(displaced, self._overloaded("a request of higher priority took this one's place"))
        if at_once and not self._scheduled and self._running is None:
            self._turn()
        else:
            self._schedule()

    async def probe(self, columns: Columns) -> list[Array]:
        """The outputs for `columns`, run in a thread between two batches. Nobody else is told of it: it is neither
        logged nor counted. Raises what the runtime raises."""
        future: asyncio.Future[list[Array]] = asyncio.get_running_loop().create_future()
        self._probes.append((columns, future))
        self._schedule()
        return await future

    def give_up(self, error: TrimtabError) -> None:
        """Refuse what runs and what waits, because the runtime does not come back from its run."""
        self._finisher.refuse([*self._in_thread, *self.queue.clear()], error)

    def _schedule(self) -> None:
        if not self._scheduled and self._running is None:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._turn)

    def seconds_until_idle(self) -> float:
        """How long the run under way and all that waits should take, by what was measured."""
        whole, rest = divmod(self.queue.rows, self._batch_rows)
        seconds = whole * self.expected_seconds(self._batch_rows)
        for rows in (rest, self._running_rows):
            if rows:
                seconds += self.expected_seconds(rows)
        return seconds

    def _overloaded(self, why: str) -> Overloaded:
        seconds = max(self.seconds_until_idle(), 0.001)
        return Overloaded(f"{why}; what waits should take {seconds:.3g} s", retry_after_seconds=seconds)

    def learn(self, rows: int, seconds: float) -> None:
        """See `Expectation.learn`."""
        self.expectation.learn(rows, seconds)

    def expected_seconds(self, rows: int) -> float:
        """See `Expectation.expected_seconds`."""
        return self.expectation.expected_seconds(rows)

    def _turn(self) -> None:
        self._scheduled = False
        while self._probes:
            columns, future = self._probes.popleft()
            if not future.done():  # else whoever asked has given up
                self._running = asyncio.get_running_loop().create_task(self._run_probe(columns, future))
                return
        batch = self.queue.take(self._batch_rows)
        try:
            if batch:
                self._begin(batch)
        except Exception as error:  # noqa: BLE001 - a defect must not leave requests without an answer
            self._finisher.refuse(batch, _defect(error))
        self._go_on()

    def _begin(self, taken: list[Pending]) -> None:
        times = RunTimes(time.perf_counter())
        columns, batch = self._assemble(taken)
        if not batch:
            return
        expected = self.expected_seconds(columns.rows)
        if batch[0].priority is not Priority.SHADOW:
            here = expected <= BLOCKING_SECONDS
            executor = self._executor
        else:
            here = self.expectation.is_known and expected <= SHADOW_BLOCKING_SECONDS
            executor = self._shadow_executor
        if here and not self._waits:
            self._run_here(batch, columns, times)
        else:
            self._in_thread = batch
            self._running_rows = columns.rows
            loop = asyncio.get_running_loop()
            run = loop.run_in_executor(executor, self._run, columns, times)
            self._running = loop.create_task(self._run_in_thread(batch, columns, run, executor, times))

    def _go_on(self) -> None:
        if self.queue or self._probes:
            self._schedule()
        elif self.idle:
            self._emptied.set()

    def _assemble(self, batch: list[Pending]) -> tuple[Columns, list[Pending]]:
        columns = self._columns(batch)
        misfits = self.contract.broken(columns)
        if misfits is None:
            return columns, batch
        kept: list[Pending] = []
        offset = 0
        for pending in batch:
            rows = slice(offset, offset + pending.count)
            offset += pending.count
            if not misfits[rows].any():
                kept.append(pending)
                continue
            own = self._layout.take(columns, rows)
            self._finisher.fail(pending, own, self.contract.refusal(own))
        return (self._columns(kept) if kept else columns), kept

    def _columns(self, batch: list[Pending]) -> Columns:
        if len(batch) == 1 and batch[0].columns is not None:
            return batch[0].columns
        if all(pending.rows is not None for pending in batch):
            return self._layout.from_rows([row for pending in batch for row in pending.rows or ()])
        return self._layout.join([p.columns or self._layout.from_rows(p.rows or ()) for p in batch])

    def _run(self, columns: Columns, times: RunTimes) -> list[Array]:
        times.began = time.perf_counter()
        limit = self._runtime.max_rows
        try:
            if limit is not None and columns.rows > limit:
                outputs = self._run_in_pieces(columns, limit)
            else:
                outputs = self._runtime.run(self._layout.feed(columns), columns.rows)
        except (Failed, Unavailable):
            raise
        except Exception as error:
            raise _defect(error) from error
        times.ended = time.perf_counter()
        self.learn(columns.rows, times.ended - times.began)
        return outputs

    def _run_in_pieces(self, columns: Columns, limit: int) -> list[Array]:
        pieces = [
            self._runtime.run(self._layout.feed(part), part.rows)
            for start in range(0, columns.rows, limit)
            for part in [self._layout.take(columns, slice(start, start + limit))]
        ]
        return [np.concatenate(output) for output in zip(*pieces, strict=True)]

    def _run_here(self, batch: list[Pending], columns: Columns, times: RunTimes) -> None:
        try:
            outputs = self._run(columns, times)
        except Failed as error:
            self._failed_alone_or_split(batch, columns, error, times)
        else:
            self.times = times
            self._finisher.finish(batch, columns, outputs)

    def _failed_alone_or_split(self, batch: list[Pending], columns: Columns, error: Failed, times: RunTimes) -> None:
        if len(batch) == 1:
            self._finisher.fail(batch[0], columns, error)
            return
        for pending, own in self._one_by_one(batch, columns):
            self._run_here([pending], own, times)

    def _one_by_one(self, batch: list[Pending], columns: Columns) -> Iterator[tuple[Pending, Columns]]:
        """Each request of `batch` with its own rows of `columns`."""
        offset = 0
        for pending in batch:
            yield pending, self._layout.take(columns, slice(offset, offset + pending.count))
            offset += pending.count

    async def _run_probe(self, columns: Columns, future: "asyncio.Future[list[Array]]") -> None:
        run = asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: self._runtime.run(self._layout.feed(columns), columns.rows)
        )
        try:
            outputs = await run
        except Exception as error:  # noqa: BLE001 - as in `_turn`
            if not future.done():
                future.set_exception(error if isinstance(error, TrimtabError) else _defect(error))
        else:
            if not future.done():
                future.set_result(outputs)
        finally:
            self._running = None
            self._go_on()

    async def _run_in_thread(
        self,
        batch: list[Pending],
        columns: Columns,
        run: "asyncio.Future[list[Array]]",
        executor: Executor,
        times: RunTimes,
    ) -> None:
        try:
            try:
                outputs = await run
            except Failed as error:
                await self._failed_in_thread(batch, columns, error, executor, times)
            except Unavailable as error:
                self._lost(batch, columns, error)
            else:
                self._leave_thread()
                if self.queue and not self._probes:
                    self._turn()  # the runtime has the next batch while this one is logged and answered
                self._finish(batch, columns, outputs, times)
                self._go_on()
                return
        except Exception as error:  # noqa: BLE001 - as in `_turn`
            self._finisher.refuse(batch, _defect(error))
        if self._in_thread is batch:
            self._leave_thread()
        self._go_on()

    def _leave_thread(self) -> None:
        self._in_thread = []
        self._running = None
        self._running_rows = 0

    def _lost(self, batch: list[Pending], columns: Columns, error: Unavailable) -> None:
        """The model's process was lost with this batch in it: sent again one by one, its rows would end the next."""
        for pending, own in self._one_by_one(batch, columns):
            self._fail(pending, own, RuntimeLost(error.detail))

    async def _failed_in_thread(
        self, batch: list[Pending], columns: Columns, error: Failed, executor: Executor, times: RunTimes
    ) -> None:
        if len(batch) == 1:
            self._fail(batch[0], columns, error)
            return
        for pending, own in self._one_by_one(batch, columns):
            if pending.future.done():
                self.queue.dropped += 1
                continue
            try:
                outputs = await asyncio.get_running_loop().run_in_executor(executor, self._run, own, times)
            except Failed as its_own:
                self._fail(pending, own, its_own)
            except Unavailable as lost:
                self._fail(pending, own, RuntimeLost(lost.detail))
            else:
                self._finish([pending], own, outputs, times)

    def _fail(self, pending: Pending, columns: Columns, error: Failed | RuntimeLost) -> None:
        """A failure is noted though the caller hung up; one whose time ran out is noted as that already."""
        if pending.future.cancelled() or not pending.future.done():
            self._finisher.fail(pending, columns, error)

    def _finish(self, batch: list[Pending], columns: Columns, outputs: list[Array], times: RunTimes) -> None:
        """Those who hung up or whose time ran out during the run get no answer, hence no row of answers."""
        if any(pending.future.done() for pending in batch):
            waits = [not pending.future.done() for pending in batch]
            rows = np.repeat(waits, [pending.count for pending in batch])
            columns = self._layout.take(columns, rows)
            outputs = [output[rows] for output in outputs]
            self.queue.dropped += len(batch)
            batch = [pending for pending in batch if not pending.future.done()]
            self.queue.dropped -= len(batch)
            if not batch:
                return
        self.times = times
        self._finisher.finish(batch, columns, outputs)


def _defect(error: Exception) -> Failed:
    """What a caller is told of the error being handled, which nobody foresaw; the log has the error itself."""
    log.exception("batch_failed_unexpectedly", error=repr(error))
    return Failed("this is a defect of the server or of the model; the log names it")
