"""Where consumer groups stand, and what the partitions hold: read for a backup, set after a restore.

A partition is recognised by its last record of then: Kafka gives a topic that was made anew the same name and the same
offsets. Setting an offset too low is always right, since a consumer ignores what it knows; too high loses records.
"""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from schemas.base import Document
from schemas.topics import TOPICS
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.connection import UNREADABLE, client_options, to_record
from services.kernel.bus.cursor import Cursor
from services.kernel.bus.record import Record
from services.kernel.bus.tail import open_consumer
from services.kernel.errors import Conflict, Unavailable
from services.kernel.settings import Settings

GONE_SECONDS = 30.0
"""How long a deleted topic may take to be gone."""
_LOOK_SECONDS = 5.0


class PartitionState(Document):
    """A partition: `topic` without the installation's prefix, its first offset, its end (the next record's), and the
    SHA-256 of its last record, None when it holds none that can be read."""

    topic: str
    partition: int
    first: int
    end: int
    last_sha256: str | None

    @property
    def name(self) -> str:
        """`topic/partition`."""
        return f"{self.topic}/{self.partition}"


class Offsets(Document):
    """All partitions, and per group (without prefix) its committed offsets by `topic/partition`."""

    partitions: tuple[PartitionState, ...]
    groups: dict[str, dict[str, int]]

    def behind(self, group: str) -> int:
        """Records that `group` has not handled, in the partitions in which it has committed."""
        ends = {partition.name: partition.end for partition in self.partitions}
        return sum(max(ends.get(name, offset) - offset, 0) for name, offset in self.groups[group].items())


async def read_offsets(settings: Settings, groups: Iterable[str]) -> Offsets:
    """What the topics hold and where `groups` stand. Raises `Unavailable`."""
    async with _consumer(settings) as consumer:
        partitions = await _states(settings, consumer)
    admin = AIOKafkaAdminClient(**client_options(settings, "trimtab-offsets"))
    try:
        await admin.start()
        committed = {}
        for group in groups:
            found = await admin.list_consumer_group_offsets(settings.topic(group))
            committed[group] = {
                f"{tp.topic[len(settings.topic_prefix) :]}/{tp.partition}": place.offset
                for tp, place in sorted(found.items())
                if place.offset >= 0
            }
    except (KafkaError, OSError) as error:
        raise _unavailable(settings, error) from error
    finally:
        await admin.close()
    return Offsets(partitions=tuple(partitions), groups=committed)


@dataclass(frozen=True)
class Present:
    """A partition of now, beside the one of then: its first offset, and whether it is the same one."""

    first: int
    same: bool


async def compare(settings: Settings, partitions: Sequence[PartitionState]) -> dict[str, Present]:
    """`topic/partition` -> what has become of it, for those of `partitions` that exist. Raises `Unavailable`.

    The same is one that still holds its last record of then; or begins after it, since that one has expired.
    """
    async with _consumer(settings) as consumer:
        present = {partition.name: partition for partition in await _states(settings, consumer, partitions)}
    return {
        then.name: Present(
            now.first,
            now.end >= then.end and (now.first >= then.end or now.last_sha256 == then.last_sha256),
        )
        for then in partitions
        if (now := present.get(then.name)) is not None
    }


async def records_after(settings: Settings, starts: Mapping[str, int]) -> AsyncIterator[Record]:
    """Every record of the partitions in `starts` (`topic/partition` -> offset) from there on, up to now."""
    places = {_tp(settings, name): offset for name, offset in starts.items()}
    if not places:
        return
    async with _consumer(settings) as consumer:
        consumer.assign(list(places))
        first = await consumer.beginning_offsets(list(places))
        ends = await consumer.end_offsets(list(places))
        cursor = Cursor(consumer, {tp: max(offset, first[tp]) for tp, offset in places.items()})
        while not await cursor.reached(ends):
            for raw in await cursor.poll(timeout_ms=500):
                if raw.offset < ends[TopicPartition(raw.topic, raw.partition)]:
                    yield to_record(raw, settings.topic_prefix)


async def set_offsets(settings: Settings, group: str, offsets: Mapping[str, int]) -> None:
    """Let `group` go on from `offsets` (by `topic/partition`).

    Raises `Conflict` while it has members, and `Unavailable`.
    """
    if not offsets:
        return
    consumer = AIOKafkaConsumer(
        **client_options(settings, "trimtab-offsets"), group_id=settings.topic(group), enable_auto_commit=False
    )
    try:
        await consumer.start()
        places = {_tp(settings, name): offset for name, offset in offsets.items()}
        consumer.assign(list(places))
        await consumer.commit(places)
    except KafkaConnectionError as error:
        raise _unavailable(settings, error) from error
    except KafkaError as error:
        raise Conflict(
            f"the consumer group {settings.topic(group)} can't be set ({error!r}): stop every service that reads in it"
        ) from error
    finally:
        await consumer.stop()


async def remake_topics(settings: Settings, topics: Sequence[str]) -> None:
    """Delete `topics` (without prefix) and make them anew, empty. Raises `Unavailable`."""
    names = [settings.topic(topic) for topic in topics]
    admin = AIOKafkaAdminClient(**client_options(settings, "trimtab-topics"))
    try:
        await admin.start()
        for name, code, *_ in (await admin.delete_topics(names)).topic_error_codes:
            if code not in (0, 3):  # 3: it is not there
                raise Unavailable(
                    f"the cluster refused to delete {name} ({for_code(code).__name__}): let its owner delete"
                    f" {', '.join(names)}"
                )
        async with asyncio.timeout(GONE_SECONDS):
            while set(names) & set(await admin.list_topics()):  # noqa: ASYNC110 - the broker tells nobody when it is
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise Unavailable(f"the cluster takes longer than {GONE_SECONDS:g} s to delete {', '.join(names)}") from error
    except (KafkaError, OSError) as error:
        raise _unavailable(settings, error) from error
    finally:
        await admin.close()
    await apply_topics(settings)


@asynccontextmanager
async def _consumer(settings: Settings) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = await open_consumer(settings, "trimtab-offsets")
    try:
        yield consumer
    except (KafkaError, OSError) as error:
        raise _unavailable(settings, error) from error
    finally:
        await consumer.stop()


async def _states(
    settings: Settings, consumer: AIOKafkaConsumer, then: Sequence[PartitionState] | None = None
) -> list[PartitionState]:
    """The partitions of our topics; with `then` their records are those at the ends of then, instead of now."""
    cluster = await consumer._client.fetch_all_metadata()
    tps = [
        TopicPartition(settings.topic(topic.name), number)
        for topic in TOPICS
        for number in sorted(cluster.partitions_for_topic(settings.topic(topic.name)) or ())
    ]
    if not tps:
        return []
    consumer.assign(tps)
    first, end = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    looked_at = {tp: end[tp] - 1 for tp in tps}
    if then is not None:
        looked_at = {_tp(settings, partition.name): partition.end - 1 for partition in then}
    wanted = {tp: offset for tp, offset in looked_at.items() if tp in first and first[tp] <= offset < end[tp]}
    digests = await _digests(consumer, wanted)
    return [
        PartitionState(
            topic=tp.topic[len(settings.topic_prefix) :],
            partition=tp.partition,
            first=first[tp],
            end=end[tp],
            last_sha256=digests.get(tp),
        )
        for tp in tps
    ]


async def _digests(consumer: AIOKafkaConsumer, wanted: Mapping[TopicPartition, int]) -> dict[TopicPartition, str]:
    """SHA-256 of the records at these offsets: of their time, key and value. One that can't be read has none."""
    found = {}
    for tp, offset in wanted.items():
        consumer.assign([tp])
        consumer.seek(tp, offset)
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                record = await consumer.getone(tp)
        except TimeoutError:  # compacted away, and nothing came after it
            continue
        except UNREADABLE as error:
            if isinstance(error, KafkaConnectionError):
                raise
            continue
        if record.offset == offset:
            facts = [str(record.timestamp).encode(), record.key or b"", record.value or b""]
            found[tp] = hashlib.sha256(b"".join(len(fact).to_bytes(4, "big") + fact for fact in facts)).hexdigest()
    return found


def _tp(settings: Settings, name: str) -> TopicPartition:
    topic, _, number = name.rpartition("/")
    return TopicPartition(settings.topic(topic), int(number))


def _unavailable(settings: Settings, error: BaseException) -> Unavailable:
    return Unavailable(f"Kafka at {settings.kafka_bootstrap} broke off ({error!r})")
