"""A member of a consumer group: polls, hands records over, keeps its place. Base of the consume loop and the monitor.

What aiokafka 0.14 does that this guards against (each seen in an experiment):

- records prefetched before a seek are delivered: pause first, synchronously, then load, seek and resume;
- an exception in the rebalance listener is only logged: it is caught here and the partition stays paused;
- one unreadable record makes `getmany` raise for ever and drops what it had drained from good neighbours: every
  partition is sought back to its own place, the bad one is stopped and named, the others go on;
- pauses vanish at a rebalance: they are applied again.
"""

import asyncio
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
)
from prometheus_client import Gauge

from services.kernel.bus.connection import UNREADABLE, client_options, is_passing, to_record
from services.kernel.bus.record import Partition, Record
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.settings import Settings
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

LAG = Gauge("trimtab_bus_lag_records", "Records behind the end of the partition", ["group", "topic", "partition"])
STOPPED = Gauge("trimtab_bus_partition_stopped", "1 where a partition is stopped", ["group", "topic", "partition"])
LAG_EVERY_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """Where to go on, and for how long to leave the partition alone first."""

    next_offset: int
    pause_seconds: float = 0.0


class GroupMember(ABC):
    """One consumer of `group` on `topics` (names without prefix)."""

    poll_records = 2_000

    def __init__(self, settings: Settings, group: str, topics: Sequence[str]) -> None:
        self.settings = settings
        self.group = group
        self._topics = [settings.topic(topic) for topic in topics]
        self._consumer: AIOKafkaConsumer | None = None
        self.task: asyncio.Task[None] | None = None
        self._next: dict[TopicPartition, int] = {}
        self._resume_at: dict[TopicPartition, float] = {}
        self._stopped: dict[TopicPartition, str] = {}
        self._processing = asyncio.Lock()
        self._lag_at = 0.0
        self._joined = asyncio.Event()

    @abstractmethod
    async def process(self, batches: Mapping[Partition, list[Record]]) -> Mapping[Partition, Progress]:
        """Handle the records of one poll; returns where each partition goes on. Raises nothing but bugs."""

    async def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        """Offsets to start from where they differ from the committed ones. May raise `TrimtabError`: tried again."""
        return {}

    async def revoked(self, partitions: Sequence[Partition]) -> None:  # noqa: B027 - a hook, empty by default
        """These partitions are somebody else's from now on."""

    async def offsets_of(self, partitions: Sequence[Partition]) -> dict[Partition, tuple[int, int]]:
        """(first, end) of what each partition holds now; `end` is the next record's. Raises `Unavailable`."""
        if self._consumer is None:
            raise Unavailable(f"the consumer group {self.group} is not connected")
        tps = {partition: TopicPartition(partition.topic, partition.number) for partition in partitions}
        try:
            first = await self._consumer.beginning_offsets(list(tps.values()))
            end = await self._consumer.end_offsets(list(tps.values()))
        except KafkaError as error:
            raise Unavailable(f"Kafka does not tell its offsets: {error!r}") from error
        return {partition: (first[tp], end[tp]) for partition, tp in tps.items()}

    # life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to consume in the background; connects when the broker is there."""
        self.task = asyncio.create_task(self._run(), name=f"group-{self.group}")

    async def stop(self) -> None:
        """Finish the records in hand, leave the group."""
        if self.task is None:
            return
        async with self._processing:
            self.task.cancel()
        await asyncio.wait([self.task])
        if self._consumer is not None:
            await self._consumer.stop()

    def ready(self) -> str | None:
        """None while consuming, else why not."""
        if self.task is not None and self.task.done():
            return f"the consumer group {self.group} has ended"
        if self._stopped:
            return None  # its neighbours work; the metric and the log name it
        return None if self._joined.is_set() else f"joining the consumer group {self.group}"

    @property
    def stopped_partitions(self) -> dict[str, str]:
        """`topic/partition` -> why it was stopped."""
        return {f"{tp.topic}/{tp.partition}": why for tp, why in self._stopped.items()}

    # the loop -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        consumer = self._consumer = await self._connect()
        while True:
            self._resume_due(consumer)
            raws = await self._poll(consumer)
            if raws:
                async with self._processing:  # a rebalance waits for the records in hand
                    await self._advance(consumer, raws)
            self._report_lag(consumer)
            await asyncio.sleep(0)

    async def _advance(self, consumer: AIOKafkaConsumer, raws: Mapping[TopicPartition, list[Record]]) -> None:
        batches = {Partition(tp.topic, tp.partition): records for tp, records in raws.items()}
        progress = await self.process(batches)
        owned = consumer.assignment()
        commit = {}
        for partition, step in progress.items():
            tp = TopicPartition(partition.topic, partition.number)
            if tp not in owned:
                continue
            last = batches[partition][-1].offset + 1 if partition in batches else step.next_offset
            if step.next_offset != last:
                consumer.seek(tp, step.next_offset)
            if step.pause_seconds:
                consumer.pause(tp)
                self._resume_at[tp] = time.monotonic() + step.pause_seconds
            if step.next_offset != self._next.get(tp):
                commit[tp] = step.next_offset
            self._next[tp] = step.next_offset
        await self._commit(consumer, commit)

    async def _commit(self, consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, int]) -> None:
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError) as error:
            log.warning("commit_after_rebalance", group=self.group, error=str(error))
        except KafkaError as error:
            log.warning("commit_failed", group=self.group, error=repr(error))

    async def _poll(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[Record]]:
        try:
            fetched = await consumer.getmany(timeout_ms=200, max_records=self.poll_records)
        except UNREADABLE as error:
            log.warning("poll_failed", group=self.group, error=repr(error))
            fetched = await self._poll_apart(consumer)
        prefix = self.settings.topic_prefix
        return {tp: [to_record(raw, prefix) for raw in raws] for tp, raws in fetched.items() if raws}

    async def _poll_apart(self, consumer: AIOKafkaConsumer) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Poll every partition alone, from its own place; stop the one whose very next record can't be read."""
        fetched: dict[TopicPartition, list[ConsumerRecord]] = {}
        for tp in consumer.assignment() - consumer.paused():
            for most in (256, 16, 1):  # a failure loses what was drained before it: seek back and take less
                try:
                    await self._seek_back(consumer, tp)
                    fetched |= await consumer.getmany(tp, timeout_ms=1000, max_records=most)
                    break
                except UNREADABLE as error:
                    if is_passing(error) or tp not in consumer.assignment():
                        break  # the broker's trouble, or a rebalance: the next poll tries again
                    if most == 1:
                        self._stop_partition(consumer, tp, error)
        return fetched

    def _stop_partition(self, consumer: AIOKafkaConsumer, tp: TopicPartition, error: Exception) -> None:
        consumer.pause(tp)
        topic = tp.topic[len(self.settings.topic_prefix) :]
        offset = self._next.get(tp, 0)
        self._stopped[tp] = f"unreadable at or after offset {offset}: {error!r}"
        STOPPED.labels(self.group, tp.topic, tp.partition).set(1)
        log.error(
            "partition_stopped",
            group=self.group,
            topic=topic,
            partition=tp.partition,
            offset=offset,
            error=repr(error),
            remedy=f"`trimtab dlq skip {topic} {tp.partition} {offset}` steps over the record",
        )

    async def _seek_back(self, consumer: AIOKafkaConsumer, tp: TopicPartition) -> None:
        place = self._next.get(tp)
        if place is None:
            place = await consumer.committed(tp)
        if place is None:
            await consumer.seek_to_beginning(tp)
        else:
            consumer.seek(tp, place)

    def skip(self, topic: str, partition: int, offset: int) -> bool:
        """Step over the record at `offset` of a stopped partition (cluster topic name). False when it is not ours."""
        tp = TopicPartition(topic, partition)
        if self._consumer is None or tp not in self._consumer.assignment():
            return False
        self._consumer.seek(tp, offset + 1)
        self._next[tp] = offset + 1
        self._stopped.pop(tp, None)
        STOPPED.labels(self.group, topic, partition).set(0)
        self._consumer.resume(tp)
        log.warning("record_skipped", group=self.group, topic=topic, partition=partition, offset=offset)
        return True

    def _resume_due(self, consumer: AIOKafkaConsumer) -> None:
        now = time.monotonic()
        due = [tp for tp, at in self._resume_at.items() if at <= now]
        for tp in due:
            del self._resume_at[tp]
            if tp in consumer.assignment() and tp not in self._stopped:
                consumer.resume(tp)

    def _report_lag(self, consumer: AIOKafkaConsumer) -> None:
        if time.monotonic() - self._lag_at < LAG_EVERY_SECONDS:
            return
        self._lag_at = time.monotonic()
        for tp in consumer.assignment():
            end = consumer.highwater(tp)
            if end is not None and tp in self._next:
                LAG.labels(self.group, tp.topic, tp.partition).set(max(end - self._next[tp], 0))

    # rebalances ---------------------------------------------------------------------------------------------------

    async def _on_assigned(self, consumer: AIOKafkaConsumer, tps: set[TopicPartition]) -> None:
        consumer.pause(*tps)
        self._consumer = consumer  # the first assignment comes before `start` returns
        pause_seconds = 0.2
        while True:
            try:
                places = await self.assigned([Partition(tp.topic, tp.partition) for tp in sorted(tps)])
                break
            except TrimtabError as error:
                log.error("assignment_waits", group=self.group, error=error.detail, seconds=pause_seconds)
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 5.0)
        for partition, offset in places.items():
            tp = TopicPartition(partition.topic, partition.number)
            consumer.seek(tp, offset)
            self._next[tp] = offset
        consumer.resume(*[tp for tp in tps if tp not in self._resume_at and tp not in self._stopped])
        self._joined.set()
        log.info("partitions_assigned", group=self.group, count=len(tps))

    async def _on_revoked(self, tps: set[TopicPartition]) -> None:
        async with self._processing:
            for tp in tps:
                self._next.pop(tp, None)
                self._resume_at.pop(tp, None)
                self._stopped.pop(tp, None)
            await self.revoked([Partition(tp.topic, tp.partition) for tp in sorted(tps)])

    async def _connect(self) -> AIOKafkaConsumer:
        pause_seconds = 0.1
        session_ms = int(self.settings.session_timeout_seconds * 1000)
        while True:
            consumer = AIOKafkaConsumer(
                **client_options(self.settings, f"trimtab-{self.group}-{uuid.uuid4().hex[:6]}"),
                group_id=self.settings.topic(self.group),
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                session_timeout_ms=session_ms,
                heartbeat_interval_ms=max(session_ms // 5, 300),
                max_poll_interval_ms=300_000,
                max_partition_fetch_bytes=16 << 20,
                fetch_max_wait_ms=100,
            )
            consumer.subscribe(self._topics, listener=_Listener(self, consumer))
            try:
                await consumer.start()
            except (KafkaConnectionError, OSError) as error:
                await consumer.stop()
                log.warning("broker_not_reached", bootstrap=self.settings.kafka_bootstrap, error=str(error))
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 3.0)
                continue
            return consumer


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, member: GroupMember, consumer: AIOKafkaConsumer) -> None:
        self._member = member
        self._consumer = consumer

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        if revoked:
            await self._member._on_revoked(set(revoked))

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        await self._member._on_assigned(self._consumer, set(assigned))
