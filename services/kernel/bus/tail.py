"""Reading topics without a consumer group: to the end once, or following."""

import asyncio
from collections.abc import AsyncIterator, Iterable

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaConnectionError, KafkaError

from services.kernel.bus.connection import client_options, to_record
from services.kernel.bus.cursor import Cursor
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
    """Every record that `topic` (without prefix) holds now, partition by partition. Raises `Unavailable`."""
    consumer = await open_consumer(settings, "trimtab-reader")
    try:
        partitions = await assign_all(consumer, [settings.topic(topic)], wait_seconds=2.0)
        ends = await consumer.end_offsets(partitions)
        cursor = Cursor(consumer, await consumer.beginning_offsets(partitions))
        while not await cursor.reached(ends):
            for raw in await cursor.poll(timeout_ms=500):
                if raw.offset < ends[TopicPartition(raw.topic, raw.partition)]:
                    yield to_record(raw, settings.topic_prefix)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} broke off ({error!r})") from error
    finally:
        await consumer.stop()


async def follow(settings: Settings, topics: Iterable[str], *, from_start: bool = False) -> AsyncIterator[Record]:
    """Records as they arrive, for ever; with `from_start` the ones that are there first. Raises `Unavailable`."""
    consumer = await open_consumer(settings, "trimtab-follower")
    try:
        partitions = await assign_all(consumer, [settings.topic(topic) for topic in topics])
        offsets = consumer.beginning_offsets if from_start else consumer.end_offsets
        cursor = Cursor(consumer, await offsets(partitions))
        while True:
            for raw in await cursor.poll(timeout_ms=1000):
                yield to_record(raw, settings.topic_prefix)
    except (KafkaError, OSError) as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} broke off ({error!r})") from error
    finally:
        await consumer.stop()
