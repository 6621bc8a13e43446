"""One version in memory: its runtime, batcher, readers and measures; from validated rows to a logged answer."""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType, Signature
from schemas.serving_options import Constant, ServingOptions
from services.kernel.errors import InvalidInput, Overloaded, TooLarge, TrimtabError, Unavailable
from services.serving.batcher import Batcher, BatchLimits
from services.serving.blocks import RowFormat
from services.serving.circuit import Breaker
from services.serving.clauses import Clauses
from services.serving.columns import Columns, Layout, Row
from services.serving.constants import constant_outputs
from services.serving.finished import Finished
from services.serving.inputs import RowReader
from services.serving.measures import Measures, RunTimes
from services.serving.model import VersionRef
from services.serving.outputs import Meaning, OutputReader
from services.serving.predlog import ModelLog, Syncer
from services.serving.queue import Pending, Priority
from services.serving.router import SHADOW
from services.serving.runtime import Array, Runtime, RuntimeFailed
from services.serving.sampling import Drawn, draw
from services.serving.tensors import Expected

FallbackBy = Literal["version", "model", "constant"]


@dataclass(slots=True)
class Answer:
    """The answer to one request: rows `start .. start + count` of a finished batch."""

    served: "ServedVersion"
    route: str
    batch: Finished
    start: int
    count: int
    cached: bool = False
    fallback_by: "FallbackBy | None" = None
    """What answered in the place of the version that was asked; None: that version did."""

    def prediction_id(self, row: int) -> str:
        """The id of the request's row number `row`."""
        return self.batch.prediction_id(self.start + row)


class ServedVersion:
    """A loaded version. Lives on the event loop."""

    def __init__(
        self,
        model_id: str,
        version: str,
        signature: Signature,
        runtime: Runtime,
        model_log: ModelLog,
        executor: Executor,
        *,
        limits: BatchLimits | None = None,
        clauses: Clauses | None = None,
        syncer: Syncer | None = None,
        identity: str = "",
        shadow_executor: Executor | None = None,
    ) -> None:
        self.model_id = model_id
        self.version = version
        self.signature = signature
        self.features = {feature.name: feature for feature in signature.inputs}
        self.tensors = {feature.name: Expected(feature) for feature in signature.inputs}
        self.output_names = tuple(output.name for output in signature.outputs)
        self.half_outputs = frozenset(output.name for output in signature.outputs if output.dtype is DType.FLOAT16)
        """Those that JSON can't hold."""
        self.layout = Layout(signature)
        self.outputs = OutputReader(signature)
        self._clauses = clauses or Clauses()
        self.reader = RowReader(signature, self._clauses, model_log.skew.count)
        self.measures = Measures(model_id, version)
        self.memory_bytes: int | None = None
        self.ref: VersionRef | None = None
        """Where its files lie; None for one that was not loaded from a store."""
        self.allocated_bytes: int | None = None
        self.load_seconds: float | None = None
        self.sample: Columns | None = None
        """What it is checked with."""
        self.identity = identity
        """Tells these very files, as they are run, from all others; without one nothing of this version is cached."""
        self.breaker: Breaker | None = None
        self.shadow_rows = 0
        """Rows of copies that it has not answered yet."""
        self._own_limits = limits or BatchLimits()
        self._log = model_log
        self._form = RowFormat(signature)
        self._runtime = runtime
        self._closed = False
        self._holds = 0
        self._let_go = asyncio.Event()
        self.on_idle: Callable[[], None] = _nobody_listens
        """Called when the last holder lets go."""
        self._syncer = syncer
        self._syncing: set[asyncio.Future[Answer]] = set()
        """Answers whose rows are in the log and that wait for the disk."""
        self.batcher = Batcher(runtime, self.layout, self, executor, self._own_limits, shadow_executor)
        self.apply(ServingOptions())

    def apply(self, options: ServingOptions) -> None:
        """Serve as the model's `options` say from now on; what they leave open is the server's own setting."""
        self.options = options
        self.reader.clauses = self.batcher.contract.clauses = self._clauses.under(options.inputs)
        own = self._own_limits
        self.batcher.limits = BatchLimits(
            options.batch_rows or own.batch_rows,
            options.queue_rows or own.queue_rows,
            options.request_rows or own.request_rows,
        )
        if options.circuit is None:
            self.breaker = None
        elif self.breaker is None:
            self.breaker = Breaker(options.circuit)
        else:
            self.breaker.rule = options.circuit

    def ask(
        self,
        count: int,
        rows: Sequence[Row] | None,
        columns: Columns | None,
        route: str,
        started: float,
        priority: Priority = Priority.NORMAL,
        *,
        at_once: bool = False,
    ) -> "asyncio.Future[Answer]":
        """Queue validated rows; `at_once`: nobody else is coming in this turn of the event loop. The future gives the
        `Answer` or raises what `Finisher.fail` was told.

        Raises `Overloaded`, `TooLarge` and `Unavailable` at once.
        """
        if self._closed:
            raise Unavailable(f"version {self.version} of {self.model_id!r} was unloaded just now; try again")
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        now = time.perf_counter()
        try:
            self.batcher.submit(Pending(count, rows, columns, route, started, future, now, priority), at_once=at_once)
        except (Overloaded, TooLarge) as refused:
            if route != SHADOW:  # a copy that is left out is counted where copies are made
                self.measures.failed(refused.code, now - started)
            raise
        return future

    def answer_with(
        self,
        outputs: list[Array],
        columns: Columns,
        route: str,
        started: float,
        source: Literal["cache", "constant"] = "cache",
    ) -> "asyncio.Future[Answer]":
        """Log and answer `columns` by `outputs` that are there already: the runtime does not run.

        The future raises `InvalidInput` for rows that would not have been run either.
        """
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        pending = Pending(columns.rows, None, columns, route, started, future, source=source)
        contract = self.batcher.contract
        if contract.broken(columns) is not None:
            self.fail(pending, columns, contract.refusal(columns))
        else:
            self.finish([pending], columns, outputs)
        return future

    def answer_constant(
        self, constant: Constant, columns: Columns, route: str, started: float
    ) -> "asyncio.Future[Answer] | None":
        """Answer every row of `columns` by `constant`; None when that can't fill this version's outputs."""
        outputs = constant_outputs(self.signature, constant, columns.rows)
        return None if outputs is None else self.answer_with(outputs, columns, route, started, "constant")

    def overdue(
        self, late: "asyncio.Future[Answer] | None", columns: Columns, route: str, started: float, error: TrimtabError
    ) -> None:
        """Nobody waits for `columns` any more because it took too long: the failure is counted and logged. `late` is
        what was waited for, None: the time was over before; when only the disk was late its rows are in the log."""
        if late in self._syncing:
            self.measures.failed(error.code, time.perf_counter() - started)
            return
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        future.cancel()
        self.fail(Pending(columns.rows, None, columns, route, started, future), columns, error)

    def finish(self, batch: list[Pending], columns: Columns, outputs: list[Array]) -> None:
        """See `batcher.Finisher`: log the rows, then answer."""
        times = self.batcher.times
        try:
            meaning = self.outputs.read(outputs)
            meaning.require_class()
        except RuntimeFailed as error:
            if len(batch) == 1:
                self.fail(batch[0], columns, error)
            else:
                self._finish_each(batch, columns, outputs)
            return
        times.read = time.perf_counter()
        latencies_us = _latencies(batch, columns.rows, times.read)
        columns = self.batcher.contract.flagged(columns)
        try:
            if self._log.sample < 1:
                drawn = self._append_sample(batch, columns, meaning, latencies_us)
                finished = Finished(outputs, meaning, self._log.incarnation, drawn.first_logged, drawn)
            else:
                first = self._append(batch, columns, meaning, latencies_us, None)
                finished = Finished(outputs, meaning, self._log.incarnation, first)
        except Overloaded as error:
            self.refuse(batch, error)
            return
        segment = self._log.current
        if self._syncer is None or segment is None:
            self._resolve(batch, finished, latencies_us, times)
        else:
            self._syncing.update(pending.future for pending in batch)
            self._syncer.after_sync(segment, lambda error: self._synced(error, batch, finished, latencies_us, times))

    def _finish_each(self, batch: list[Pending], columns: Columns, outputs: list[Array]) -> None:
        """One request's outputs may be unreadable for what was asked in it: that is no other's failure."""
        start = 0
        for pending in batch:
            rows = slice(start, start + pending.count)
            start += pending.count
            self.finish([pending], self.layout.take(columns, rows), [output[rows] for output in outputs])

    def fail(self, pending: Pending, columns: Columns, error: TrimtabError) -> None:
        """See `batcher.Finisher`: the model's failures are logged with their inputs, the caller's are counted."""
        self.measures.failed(error.code, time.perf_counter() - pending.started)
        if isinstance(error, InvalidInput):
            for name in error.facts.get("features", ()) if pending.route != SHADOW else ():
                self._log.skew.count(name)
        else:
            columns = self.batcher.contract.flagged(columns)
            try:
                self._append(
                    [pending], columns, None, _latencies([pending], columns.rows, time.perf_counter()), error.code
                )
            except Overloaded as full:
                error = full
        if not pending.future.done():
            pending.future.set_exception(error)

    def refuse(self, batch: list[Pending], error: TrimtabError) -> None:
        """See `batcher.Finisher`."""
        for pending in batch:
            if not pending.future.done():
                self.measures.failed(error.code, time.perf_counter() - pending.started)
                pending.future.set_exception(copy(error))

    @property
    def provider(self) -> str:
        """What it computes on, see `Runtime.provider`."""
        return self._runtime.provider

    async def check(self) -> None:
        """Run the sample, in a thread, and read the outputs; nothing is logged or counted. Raises `Failed`, or
        `Unavailable` when the process that runs it is gone."""
        if self.sample is not None:
            self.outputs.read(await self.batcher.probe(self.sample))

    @property
    def closed(self) -> bool:
        """Whether the runtime was freed: nothing is answered any more."""
        return self._closed

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the version is not freed, though nothing of it is queued: for work that awaits between choosing a
        version and asking it."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1
            if not self._holds:
                self._let_go.set()
                self.on_idle()

    @property
    def idle(self) -> bool:
        """Whether nothing is queued or running and nobody holds it."""
        return self._holds == 0 and self.batcher.idle

    async def drained(self) -> None:
        """Return once it is idle."""
        while not self.idle:
            await self.batcher.drained()
            while self._holds:
                self._let_go.clear()
                await self._let_go.wait()

    def begin_close(self) -> None:
        """Answer nothing more; on the event loop, before `close`."""
        self._closed = True

    def close(self) -> None:
        """Free the runtime. Nothing may be queued. Takes time for a large model: call it in a thread."""
        self._closed = True
        self._runtime.close()

    def _append(
        self,
        batch: list[Pending],
        columns: Columns,
        meaning: Meaning | None,
        latencies_us: NDArray[np.uint32],
        error: str | None,
    ) -> int:
        routes, codes = _routes(batch)
        return self._log.append(
            self._form,
            version=self.version,
            routes=routes,
            route_codes=codes,
            latencies_us=latencies_us,
            columns=columns,
            meaning=meaning,
            error=error,
        )

    def _append_sample(
        self, batch: list[Pending], columns: Columns, meaning: Meaning, latencies_us: NDArray[np.uint32]
    ) -> Drawn:
        """Log a share of the requests, all of a request's rows or none."""
        kept = draw([pending.count for pending in batch], self._log.sample)
        logged, first = int(np.count_nonzero(kept)), self._log.next_sequence
        if logged == len(kept):
            first = self._append(batch, columns, meaning, latencies_us, None)
        elif logged:
            starts = np.cumsum([0, *(pending.count for pending in batch[:-1])])
            some = [pending for pending, start in zip(batch, starts, strict=True) if kept[start]]
            rows = self.layout.take(columns, kept)
            first = self._append(some, rows, meaning.take(kept), latencies_us[kept], None)
        left_out = len(kept) - logged
        self.measures.sampled_out += left_out
        beside = self._log.leave_out(self._form, self.version, left_out) if left_out else 0
        return Drawn(kept, first, beside)

    def _synced(
        self,
        error: OSError | None,
        batch: list[Pending],
        finished: Finished,
        latencies_us: NDArray[np.uint32],
        times: RunTimes,
    ) -> None:
        self._syncing.difference_update(pending.future for pending in batch)
        if error is None:
            self._resolve(batch, finished, latencies_us, times)
            return
        self._log.seal()  # a page that the disk did not take must not lie before rows that are answered later
        for pending in batch:
            self.measures.failed(Unavailable.code, time.perf_counter() - pending.started)
            if not pending.future.done():
                pending.future.set_exception(Unavailable(f"the disk did not keep the prediction: {error.strerror}"))

    def _resolve(
        self, batch: list[Pending], finished: Finished, latencies_us: NDArray[np.uint32], times: RunTimes
    ) -> None:
        source = batch[0].source
        cached = source == "cache"
        start = 0
        started = queued = 0.0
        for pending in batch:
            started += pending.started
            queued += pending.queued_at
            if not pending.future.done():
                pending.future.set_result(Answer(self, pending.route, finished, start, pending.count, cached))
            start += pending.count
        if source == "run":
            self.measures.answered(len(batch), latencies_us, times, started, queued)
        elif cached:  # this version had no part in a constant
            self.measures.repeated(len(batch), latencies_us)


def _nobody_listens() -> None:
    """No pool yet."""


def _latencies(batch: list[Pending], rows: int, now: float) -> NDArray[np.uint32]:
    by_request = np.array([min((now - pending.started) * 1e6, 4e9) for pending in batch], dtype=np.uint32)
    return by_request if rows == len(batch) else np.repeat(by_request, [pending.count for pending in batch])


def _routes(batch: list[Pending]) -> tuple[list[str], NDArray[np.uint8] | None]:
    first = batch[0].route
    if all(pending.route == first for pending in batch):
        return [first], None
    names = sorted({pending.route for pending in batch})
    codes = np.array([names.index(pending.route) for pending in batch], dtype=np.uint8)
    return names, np.repeat(codes, [pending.count for pending in batch])
