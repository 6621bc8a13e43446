"""Reading partitions without a group, from a place of one's own, over records that no client can read.

One unreadable record makes aiokafka's `getmany` raise for ever and drops what it had drained from other partitions. So
the place in each partition is kept here; on an error every partition is read alone from its place, and a record that
can't be read alone is stepped over, loudly: for these readers the newest state matters more than one broken record.
"""

from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition
from prometheus_client import Counter

from services.kernel.bus.connection import UNREADABLE, is_passing
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

SKIPPED = Counter("trimtab_bus_unreadable_skipped_total", "Records stepped over: no client can read them", ["topic"])
FEWER = (256, 16, 1)
"""How many records are asked for after an error: what was drained before it is lost, so less each time."""


class Cursor:
    """A place in each of `partitions`, beginning at `starts`. The consumer must be assigned to them."""

    def __init__(self, consumer: AIOKafkaConsumer, starts: Mapping[TopicPartition, int]) -> None:
        self._consumer = consumer
        self._next = dict(starts)
        for partition, offset in starts.items():
            consumer.seek(partition, offset)

    async def poll(self, timeout_ms: int) -> list[ConsumerRecord]:
        """The next records of all partitions; each partition's in order. Raises `KafkaError` when the broker fails."""
        try:
            fetched = await self._consumer.getmany(timeout_ms=timeout_ms)
        except UNREADABLE as error:
            if is_passing(error):
                raise
            return [record for partition in list(self._next) for record in await self._poll_alone(partition)]
        return self._advance(fetched.values())

    async def reached(self, ends: Mapping[TopicPartition, int]) -> bool:
        """Whether every partition has been read up to `ends`; compaction may have removed the last records."""
        return all([await self._consumer.position(partition) >= end for partition, end in ends.items()])

    async def _poll_alone(self, partition: TopicPartition) -> list[ConsumerRecord]:
        for most in FEWER:
            self._consumer.seek(partition, self._next[partition])
            try:
                fetched = await self._consumer.getmany(partition, timeout_ms=500, max_records=most)
            except UNREADABLE as error:
                if is_passing(error):
                    raise
                if most == FEWER[-1]:
                    self._step_over(partition, error)
                continue
            return self._advance(fetched.values())
        return []

    def _step_over(self, partition: TopicPartition, error: Exception) -> None:
        offset = self._next[partition]
        log.error(
            "record_stepped_over",
            topic=partition.topic,
            partition=partition.partition,
            offset=offset,
            error=repr(error),
        )
        SKIPPED.labels(partition.topic).inc()
        self._next[partition] = offset + 1
        self._consumer.seek(partition, offset + 1)

    def _advance(self, batches: Iterable[list[ConsumerRecord]]) -> list[ConsumerRecord]:
        records = [record for batch in batches for record in batch]
        for record in records:
            self._next[TopicPartition(record.topic, record.partition)] = record.offset + 1
        return records
