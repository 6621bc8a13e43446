"""The monitor's consumer: counts every prediction once, whatever happens to the process.

Each poll of a partition is taken in on a thread, its raw rows are appended to the spool, and then one transaction moves
the partition's state and offset on, from where they were loaded. A crash at any point repeats the poll from the saved
state; a zombie's transaction is refused. On assignment the kernel's group member pauses, asks here for the saved
offsets, seeks and resumes.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from services.kernel.bus.dead_letters import bury
from services.kernel.bus.group import GroupMember, Progress
from services.kernel.bus.producer import Producer
from services.kernel.bus.record import Partition, Record
from services.kernel.errors import Unavailable
from services.kernel.failpoints import failpoint
from services.kernel.telemetry import get_logger
from services.kernel.uow import Work
from services.monitor import metrics, state
from services.monitor.intake import Intake, PartitionState, Staged
from services.monitor.metrics import ScoreSeries
from services.monitor.settings import MonitorSettings
from services.monitor.spool import Place, Spool
from services.monitor.watched import Watchlist

log = get_logger(__name__)

GROUP = "monitor-predictions"
PAUSE_SECONDS = 0.5
SHOWN_METHODS = ("psi", "kl", "wasserstein")
TALLIED = (
    (metrics.REPEATED, "repeated"),
    (metrics.MISSING, "missing"),
    (metrics.FOUND, "found"),
    (metrics.LOST, "lost"),
    (metrics.SHED, "shed"),
)


class PredictionStream(GroupMember):
    """Consumes `predictions`. `on_rows` is called after each save that kept raw rows."""

    def __init__(
        self,
        settings: MonitorSettings,
        work: Work,
        producer: Producer,
        watchlist: Watchlist,
        spool: Spool,
        on_rows: Callable[[], None],
    ) -> None:
        super().__init__(settings, GROUP, ["predictions"])
        self._work = work
        self._producer = producer
        self._spool = spool
        self._on_rows = on_rows
        self._intake = Intake(
            watchlist,
            lambda model_id, ids: work.db.read_now(lambda connection: state.known_ids(connection, model_id, ids)),
            group=GROUP,
            unknown_wait_seconds=settings.monitor_unknown_wait_seconds,
            max_age_seconds=settings.monitor_window_max_seconds,
            min_rows=settings.monitor_window_min_rows,
        )
        self._series = ScoreSeries(settings.monitor_metric_series)
        self._states: dict[int, PartitionState] = {}
        self._turn = asyncio.Lock()

    async def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Load the partitions' states; their offsets are the ones to start from."""
        async with self._turn:
            for partition in partitions:
                await self._load(partition.number)
            return await self._places(partitions)

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        """Forget the partitions' states."""
        async with self._turn:
            for partition in partitions:
                self._states.pop(partition.number, None)
                self._spool.close(partition.number)

    async def process(self, batches: Mapping[Partition, list[Record]]) -> Mapping[Partition, Progress]:
        """Count the records of one poll."""
        async with self._turn:
            return {partition: await self._partition(partition, records) for partition, records in batches.items()}

    async def close_due_windows(self) -> None:
        """Close the windows that are old enough: traffic may have stopped."""
        async with self._turn:
            for number in list(self._states):
                held = self._states[number]
                if held.next_offset is None:
                    continue
                try:
                    staged = await asyncio.to_thread(self._intake.close_due, held, self._others(number), time.time())
                    if staged is not None:
                        await self._save(number, staged, [])
                        self._tell(staged)
                except Unavailable as error:
                    log.warning("windows_not_closed", partition=number, error=error.detail)
                except state.Fenced as error:
                    log.warning("fenced", partition=number, error=error.detail)
                    await self._load_all()

    def lag(self) -> dict[str, int]:
        """Records behind the end, by partition; only of those that this process reads."""
        consumer = self._consumer
        if consumer is None:
            return {}
        behind = {}
        for place in consumer.assignment():
            end, held = consumer.highwater(place), self._states.get(place.partition)
            if end is not None and held is not None:
                behind[str(place.partition)] = max(0, end - (held.next_offset or 0))
        return behind

    async def _load(self, number: int) -> PartitionState:
        loaded, end = await self._work.db.read(lambda connection: state.load(connection, number))
        await asyncio.to_thread(self._spool.open, number, *end)
        self._states[number] = loaded
        return loaded

    async def _load_all(self) -> None:
        """After a fence: what is held is of the past, of this partition or of another."""
        for number in list(self._states):
            await self._load(number)

    async def _places(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """Where to read on; at the beginning of a topic that ends before the saved offset: it was made anew.

        Raises `Unavailable`, and `Fenced` when somebody else has moved a partition on.
        """
        saved = {
            partition: offset
            for partition in partitions
            if (offset := self._states[partition.number].next_offset) is not None
        }
        if not saved:
            return {}
        for partition, (first, end) in (await self.offsets_of(list(saved))).items():
            number, offset = partition.number, saved[partition]
            if offset < first:
                log.error("records_expired_uncounted", partition=number, next_offset=offset, first_offset=first)
            if offset <= end:
                continue
            await self._work.db.write(partial(state.restart, partition=number, old=offset, new=first))
            self._states[number] = replace(self._states[number], next_offset=first)
            saved[partition] = first
            metrics.RESTARTED.labels(number).inc()
            log.error("topic_made_anew", partition=number, next_offset=offset, end_offset=end, read_from=first)
        return saved

    async def _all_behind(self, partition: Partition) -> Progress:
        """All records of a poll lie before the saved offset: a fence reloaded us, or the topic was made anew."""
        number = partition.number
        try:
            return Progress((await self._places([partition]))[partition])
        except Unavailable as error:
            log.warning("partition_waits", partition=number, error=error.detail)
        except state.Fenced as error:
            log.warning("fenced", partition=number, error=error.detail)
            await self._load_all()
        return Progress(self._states[number].next_offset or 0, PAUSE_SECONDS)

    async def _partition(self, partition: Partition, records: list[Record]) -> Progress:
        number = partition.number
        held = self._states[number]
        if held.next_offset is not None and records[0].offset < held.next_offset:
            records = [record for record in records if record.offset >= held.next_offset]
            if not records:
                return await self._all_behind(partition)
        try:
            staged = await asyncio.to_thread(self._intake.take, held, self._others(number), records)
            for failure in staged.dead:
                await bury(self._producer, GROUP, failure)
            places = await self._keep(number, staged)
            failpoint("monitor-before-save")
            await self._save(number, staged, places)
        except Unavailable as error:
            log.warning("partition_waits", partition=number, error=error.detail)
            await self._rewind(number)
            return Progress(records[0].offset, PAUSE_SECONDS)
        except state.Fenced as error:
            log.warning("fenced", partition=number, error=error.detail)
            await self._load_all()
            return Progress(self._states[number].next_offset or 0, PAUSE_SECONDS)
        failpoint("monitor-after-save")
        self._tell(staged)
        metrics.WAITING.labels(number).set(staged.wait is not None)
        if staged.wait is not None:
            log.info("partition_waits_for_version", partition=number, reason=staged.wait.detail)
            return Progress(staged.next_offset, PAUSE_SECONDS)
        return Progress(staged.next_offset)

    async def _keep(self, number: int, staged: Staged) -> list[Place]:
        """Append the raw rows to the spool. A full disk costs the raw rows, which is counted, and never the counts."""
        if not staged.blocks:
            return []
        payloads = [block.payload for block in staged.blocks]
        try:
            places = await asyncio.to_thread(self._spool.append, number, payloads)
        except OSError as error:
            log.error("spool_not_written", partition=number, blocks=len(payloads), error=str(error))
            metrics.SPOOL_LOST.inc(len(payloads))
            return []
        failpoint("monitor-after-spool")
        return places

    async def _save(self, number: int, staged: Staged, places: list[Place]) -> None:
        held = dict(self._states)
        self._states |= await self._work.run(lambda uow: state.save(uow, number, held, staged, places))

    def _others(self, number: int) -> list[PartitionState]:
        return [held for other, held in self._states.items() if other != number]

    async def _rewind(self, number: int) -> None:
        """The spool's end back to what is saved, once the database answers; `append` writes over the rest."""
        try:
            _, end = await self._work.db.read(lambda connection: state.load(connection, number))
            await asyncio.to_thread(self._spool.open, number, *end)
        except Unavailable as error:
            log.warning("spool_not_rewound", partition=number, error=error.detail)

    def _tell(self, staged: Staged) -> None:
        for (model, version), tally in staged.tallies.items():
            if version:
                metrics.COUNTED.labels(model, version).inc(tally["rows"])
                if tally["sampled_out"]:
                    metrics.SAMPLED_OUT.labels(model, version).inc(tally["sampled_out"])
            for counter, name in TALLIED:
                if tally[name]:
                    counter.labels(model).inc(tally[name])
            if tally["missing"]:
                log.error("rows_missing", model_id=model, rows=tally["missing"])
            if tally["lost"]:
                log.error("rows_lost", model_id=model, rows=tally["lost"])
        for model, clauses in staged.flagged.items():
            for clause, count in clauses.items():
                metrics.FLAGGED.labels(model, clause).inc(count)
        for failure in staged.dead:
            reason = getattr(failure.error, "code", type(failure.error).__name__)
            metrics.BURIED.labels(reason).inc()
            log.error(
                "record_buried", offset=failure.record.offset, error=str(failure.error), remedy="trimtab dlq list"
            )
        newest = {}
        for closed in staged.closed:
            metrics.WINDOWS.labels(closed.watched.model_id, closed.watched.version).inc()
            if closed.skewed:
                metrics.SKEWED.labels(closed.watched.model_id).inc(sum(closed.skewed.values()))
            newest[closed.watched.model_id, closed.watched.version] = closed
        for (model, version), closed in newest.items():
            for row, method in enumerate(("psi", "kl", "kl_reverse", "jensen_shannon", "wasserstein")):
                if method in SHOWN_METHODS:
                    for name, score in zip(closed.names, closed.scores[row], strict=True):
                        if score == score:
                            self._series.set(model, version, name, method, float(score))
        if staged.blocks:
            self._on_rows()
