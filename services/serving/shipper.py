"""Carries the prediction log from its segments to Kafka.

One task a log. It reads what the log has written, joins the blocks of many ticks into one Arrow batch (`BATCH_ROWS`, or
whatever there is after `LINGER_SECONDS`), sends it, and after the broker's acknowledgement notes the offset in the
segment and deletes segments that are done. Nothing is kept in memory but the batch on its way. Delivery is at least
once: a crash between acknowledgement and note sends a batch again, with the same sequence numbers.

A starting process adopts the segments that a dead one left behind and ships them under their own incarnation.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from schemas.predictions import Gap, PredictionBatch
from services.kernel.errors import IntegrityFailed, TooLarge, Unavailable
from services.kernel.telemetry import get_logger
from services.serving.block_table import table_of
from services.serving.blocks import Block, RowFormat, read_head
from services.serving.nursery import Nursery
from services.serving.pieces import part
from services.serving.predlog import LogBudget, ModelLog
from services.serving.segments import BlockKind, Segment, orphans

log = get_logger(__name__)

BATCH_ROWS = 1024
WAKE_ROWS = 512
LINGER_SECONDS = 0.2
_BATCH_BYTES = 4 << 20
_BATCH_BLOCKS = 256  # about 2 ms on the event loop, when every block holds a single row
_ROWS_ON_THE_LOOP = 4096
_MOST_ROWS = 16_384
"""Rows of one Arrow batch: its dictionaries have 16-bit codes, and each row may bring a text of its own."""
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 5.0

_DECLARATIONS = (BlockKind.SIGNATURE, BlockKind.FORM)

Send = Callable[[PredictionBatch], Awaitable[None]]
"""Resolves when the broker has acknowledged the batch; raises `Unavailable` (it is sent again) or `TooLarge`."""


class _Name(NamedTuple):
    model_id: str
    replica: str
    incarnation: str


@dataclass
class _Load:
    """What one batch will carry, and how far in which segment it reaches."""

    segment: Segment
    end: int
    form: RowFormat | None = None
    rows: list[Block] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    row_count: int = 0
    cut_short: bool = False


class _Carrier:
    """Ships one log's segments in order."""

    def __init__(self, segments: list[Segment], send: Send, budget: LogBudget, live: ModelLog | None) -> None:
        self._segments = segments
        self._name = _Name(*((live.model_id, live.replica, live.incarnation) if live else _owner(segments[0])))
        self._send = send
        self._budget = budget
        self._live = live
        self._forms: dict[int, RowFormat] = {}
        self._known_forms: dict[str, RowFormat] = {}
        self._sampled_out: dict[str, int] = {}
        self._told: dict[str, int] = {}
        self._pending_rows = 0
        self._signal = asyncio.Event()
        self._flush: asyncio.TimerHandle | None = None
        self.shipped_rows = 0
        self.stopping = False
        if live is not None:
            live.on_rows = self._on_rows

    def _on_rows(self, rows: int) -> None:
        self._pending_rows += rows
        if self._pending_rows >= WAKE_ROWS:
            self._signal.set()
        elif self._flush is None:
            self._flush = asyncio.get_running_loop().call_later(LINGER_SECONDS, self.wake)

    def wake(self) -> None:
        """Ship what there is now."""
        self._flush = None
        self._signal.set()

    async def run(self) -> None:
        """Ship until the log has ended: an adopted one at its end, a live one when `stopping`."""
        while True:
            self._signal.clear()
            self._pending_rows = 0
            if self._live is not None:
                self._live.announce_gap()
                if self.stopping:
                    self._live.seal()
            while (load := self._next_load()) is not None:
                more = load.cut_short or load.segment.sealed or self.stopping
                await self._ship(load)
                self._finish(load)
                if not more:
                    break
            await self._ship_lone_counts()
            self._drop_finished()
            if self._live is None or (self.stopping and not self._segments):
                return
            if self.stopping:
                continue
            await self._signal.wait()

    def _next_load(self) -> _Load | None:
        for segment in self._segments:
            load = self._load(segment)
            if load is not None:
                return load
            if not segment.sealed:
                return None
        return None

    def _load(self, segment: Segment) -> _Load | None:
        """The next batch's content from `segment`, or None when everything in it is acknowledged."""
        if segment.acknowledged >= segment.size:
            return None
        if segment.acknowledged <= segment.start:
            self._forms = {}
        elif not self._forms:
            self._read_signatures(segment)
        load = _Load(segment, segment.acknowledged)
        size = 0
        for kind, payload, end in segment.blocks(segment.acknowledged):
            if kind in _DECLARATIONS:
                self._declare(kind, payload)
            elif kind is BlockKind.GAP:
                load.gaps.append(Gap.model_validate_json(payload))
            else:
                size += len(payload)
                if not self._add(load, payload, size):
                    load.cut_short = True
                    break
            load.end = end
        if load.end == segment.acknowledged:
            if segment.sealed:  # only a torn tail is left
                log.warning("torn_tail_dropped", segment=segment.path.name, bytes=segment.size - load.end)
                self._budget.used_bytes -= segment.size - load.end
                segment.size = load.end
            return None
        return load

    def _add(self, load: _Load, payload: bytes, size: int) -> bool:
        """Put one block into `load`; False when it has to wait for the next batch."""
        try:
            head, _ = read_head(payload)
            form = self._forms.get(head.signature)
            if form is None:
                raise IntegrityFailed("a block names a signature that its segment does not hold")
            if load.rows and (
                form is not load.form
                or head.sample != load.rows[-1].head.sample
                or load.row_count + head.rows > BATCH_ROWS
                or size > _BATCH_BYTES
                or len(load.rows) >= _BATCH_BLOCKS
                or load.rows[-1].head.first_sequence + load.rows[-1].head.rows != head.first_sequence
            ):
                return False
            load.rows.append(form.read(payload))
        except IntegrityFailed as error:
            log.error("prediction_block_unreadable", segment=load.segment.path.name, error=error.detail)
            return True
        load.form = form
        load.row_count += head.rows
        return True

    def _declare(self, kind: BlockKind, payload: bytes) -> None:
        declared = RowFormat.declared(kind, payload)
        form = self._known_forms.setdefault(declared.digest, declared)
        if form not in self._forms.values():
            self._forms[len(self._forms)] = form

    def _read_signatures(self, segment: Segment) -> None:
        for kind, payload, end in segment.blocks(segment.start):
            if kind in _DECLARATIONS and end <= segment.acknowledged:
                self._declare(kind, payload)

    async def _ship(self, load: _Load) -> None:
        skew = self._live.skew.take() if self._live is not None else {}
        for block in load.rows:
            self._count(block.head.version, block.head.sampled_out)
        form = load.form or self._any_form()
        if form is not None and (load.rows or load.gaps or skew):
            first, gaps = _first_sequence(load), tuple(load.gaps)
            sample = load.rows[0].head.sample if load.rows else self._sample
            for table in table_of(form, load.rows).parts(_MOST_ROWS):
                count = table.columns.rows
                aside = count > _ROWS_ON_THE_LOOP
                arrow = await asyncio.to_thread(table.to_arrow) if aside else table.to_arrow()
                await self._send_pieces(self._batch(form, arrow, first, gaps, skew, sample))
                first, gaps, skew = first + count, (), {}
        self.shipped_rows += load.row_count

    def _count(self, version: str, sampled_out: int) -> None:
        if sampled_out > self._sampled_out.get(version, 0):
            self._sampled_out[version] = sampled_out

    def _any_form(self) -> RowFormat | None:
        if self._live is not None and self._live.last_form is not None:
            return self._live.last_form
        return next(iter(self._known_forms.values()), None)

    @property
    def _sample(self) -> float:
        return self._live.sample if self._live is not None else 1.0

    def _batch(
        self,
        form: RowFormat,
        rows: pa.RecordBatch,
        first_sequence: int,
        gaps: tuple[Gap, ...],
        skew: dict[str, int],
        sample: float,
    ) -> PredictionBatch:
        name = self._name
        if self._live is not None:
            self._sampled_out |= self._live.sampled_out
        self._told = dict(self._sampled_out)
        return PredictionBatch(
            model_id=name.model_id,
            replica=name.replica,
            incarnation=name.incarnation,
            first_sequence=first_sequence,
            gaps=gaps,
            skew=skew,
            redacted=form.redacted,
            sample=sample,
            sampled_out=self._told,
            rows=rows,
        )

    async def _send_pieces(self, batch: PredictionBatch) -> None:
        """Send `batch`, in halves while it is over what a record may hold."""
        if batch.rows.nbytes <= _BATCH_BYTES or batch.rows.num_rows < 2:
            try:
                await self._send_until_taken(batch)
                return
            except TooLarge:
                if batch.rows.num_rows < 2:
                    await self._give_up(batch)
                    return
        half = batch.rows.num_rows // 2
        first, second = part(batch.rows, 0, half), part(batch.rows, half, batch.rows.num_rows - half)
        await self._send_pieces(batch.model_copy(update={"rows": first}))
        after = batch.first_sequence + half
        await self._send_pieces(
            batch.model_copy(update={"rows": second, "first_sequence": after, "gaps": (), "skew": {}})
        )

    async def _give_up(self, batch: PredictionBatch) -> None:
        """One row that no record holds: announced as a gap, so that it is not missed in silence."""
        log.error("prediction_too_large_to_ship", model_id=batch.model_id, sequence=batch.first_sequence)
        rows = batch.rows.num_rows
        gap = Gap(first_sequence=batch.first_sequence, rows=rows, reason="the row is larger than a Kafka record may be")
        without = {"rows": part(batch.rows, 0, 0), "first_sequence": batch.first_sequence + rows}
        await self._send_until_taken(batch.model_copy(update={**without, "gaps": (*batch.gaps, gap)}))

    async def _send_until_taken(self, batch: PredictionBatch) -> None:
        """Send until the broker has it. Raises `TooLarge`."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            try:
                await self._send(batch)
                return
            except Unavailable as error:
                log.warning(
                    "predictions_not_shipped", model_id=batch.model_id, error=error.detail, next_try_seconds=pause
                )
            await asyncio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _ship_lone_counts(self) -> None:
        """What was counted of requests that were all refused, or not logged, has no rows to travel with."""
        if self._live is None or (form := self._any_form()) is None:
            return
        skew = self._live.skew.take()
        if skew or self._told != self._live.sampled_out:
            batch = self._batch(
                form, table_of(form, []).to_arrow(), self._live.next_sequence, (), skew, self._live.sample
            )
            await self._send_until_taken(batch)

    def _finish(self, load: _Load) -> None:
        load.segment.acknowledge(load.end)
        self._drop_finished()

    def _drop_finished(self) -> None:
        while self._segments and self._segments[0].sealed and self._segments[0].acknowledged >= self._segments[0].size:
            done = self._segments.pop(0)
            self._budget.used_bytes -= done.size
            self._forms = {}
            done.delete()


def _owner(segment: Segment) -> tuple[str, str, str]:
    return segment.name.model_id, segment.name.replica, segment.name.incarnation


def _first_sequence(load: _Load) -> int:
    if load.rows:
        return load.rows[0].head.first_sequence
    return load.gaps[-1].first_sequence + load.gaps[-1].rows if load.gaps else 0


class Shipper:
    """All logs of the process on their way to Kafka."""

    def __init__(self, directory: Path, send: Send, budget: LogBudget) -> None:
        self._directory = directory
        self._send = send
        self._budget = budget
        self._carriers: list[tuple[_Carrier, asyncio.Task[None]]] = []
        self._retired_rows = 0
        self._nursery = Nursery("shipper")

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends with the first unexpected error."""
        return self._nursery.task

    @property
    def shipped_rows(self) -> int:
        """Rows that the broker has acknowledged since the start."""
        return self._retired_rows + sum(carrier.shipped_rows for carrier, _ in self._carriers)

    def adopt(self, mine: Callable[[str], bool] | None = None) -> int:
        """Begin to ship what dead processes left behind, those with a name that is `mine`; the number of segments
        found."""
        logs: dict[str, list[Segment]] = {}
        for segment in orphans(self._directory, mine):
            self._budget.used_bytes += segment.size
            logs.setdefault(segment.name.incarnation, []).append(segment)
        for segments in logs.values():
            log.info("log_adopted", model_id=segments[0].name.model_id, segments=len(segments))
            self._start(_Carrier(segments, self._send, self._budget, None))
        return sum(len(segments) for segments in logs.values())

    def carry(self, model_log: ModelLog) -> None:
        """Begin to ship a log of this process."""
        self._start(_Carrier(model_log.segments, self._send, self._budget, model_log))

    def _start(self, carrier: _Carrier) -> None:
        task = self._nursery.spawn(carrier.run(), "ship")
        self._carriers.append((carrier, task))
        task.add_done_callback(lambda _: self._retire(carrier, task))

    def _retire(self, carrier: _Carrier, task: asyncio.Task[None]) -> None:
        self._carriers.remove((carrier, task))
        self._retired_rows += carrier.shipped_rows

    async def stop(self, seconds: float) -> None:
        """Ship what is left for at most `seconds`; the rest stays on disk for an adopter."""
        for carrier, _ in self._carriers:
            carrier.stopping = True
            carrier.wake()
        tasks = [task for _, task in self._carriers]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=seconds)
            if late:
                log.warning("predictions_left_on_disk", logs=len(late), bytes=self._budget.used_bytes)
        await self._nursery.close()
