"""Reading topics without a consumer group: to the end once, or following."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from services.kernel.bus.connection import client_options, to_record
from services.kernel.bus.record import Record
from services.kernel.errors import Unavailable
from services.kernel.settings import Settings


async def open_consumer(settings: Settings, client_id: str) -> AIOKafkaConsumer:
    """A connected consumer without a group. Raises `Unavailable` when no broker answers."""
    consumer = AIOKafkaConsumer(
        **client_options(settings, client_id),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_partition_fetch_bytes=16 << 20,
    )
    try:
        await consumer.start()
    except (KafkaConnectionError, OSError) as error:
        await consumer.stop()
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} does not answer ({error})") from error
    return consumer


async def assign_all(
    consumer: AIOKafkaConsumer, topics: Iterable[str], wait_seconds: float = 30.0
) -> list[TopicPartition]:
    """Assign every partition of `topics` (cluster names); waits for topics that are being created."""
    assigned: list[TopicPartition] = []
    deadline = asyncio.get_running_loop().time() + wait_seconds
    for topic in topics:
        while True:
            cluster = await consumer._client.fetch_all_metadata()
            numbers = cluster.partitions_for_topic(topic)
            if numbers:
                assigned += [TopicPartition(topic, number) for number in sorted(numbers)]
                break
            if asyncio.get_running_loop().time() > deadline:
                raise Unavailable(f"the topic {topic} does not exist: run `trimtab topics apply`")
            await asyncio.sleep(0.2)
    consumer.assign(assigned)
    return assigned


async def read_to_end(settings: Settings, topic: str) -> AsyncIterator[Record]:
    """Every record that `topic` (without prefix) holds now, partition by partition."""
    consumer = await open_consumer(settings, "trimtab-reader")
    try:
        partitions = await assign_all(consumer, [settings.topic(topic)], wait_seconds=2.0)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        left = {p for p in partitions if await consumer.position(p) < ends[p]}
        while left:
            batches = await consumer.getmany(timeout_ms=500)
            for partition, raws in batches.items():
                for raw in raws:
                    if raw.offset < ends[partition]:
                        yield to_record(raw, settings.topic_prefix)
            left = {p for p in left if await consumer.position(p) < ends[p]}
    finally:
        await consumer.stop()


async def follow(settings: Settings, topics: Iterable[str], *, from_start: bool = False) -> AsyncIterator[Record]:
    """Records as they arrive, for ever; with `from_start` the ones that are there first. Raises `Unavailable`."""
    consumer = await open_consumer(settings, "trimtab-follower")
    try:
        partitions = await assign_all(consumer, [settings.topic(topic) for topic in topics])
        await (consumer.seek_to_beginning if from_start else consumer.seek_to_end)(*partitions)
        while True:
            for raws in (await consumer.getmany(timeout_ms=1000)).values():
                for raw in raws:
                    yield to_record(raw, settings.topic_prefix)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} broke off ({error!r})") from error
    finally:
        await consumer.stop()
