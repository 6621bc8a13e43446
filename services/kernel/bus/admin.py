"""Topics as the table says: created, grown and configured, or listed for somebody who may."""

from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaConnectionError, KafkaError, for_code

from schemas.topics import DLQ_SUFFIX, TOPICS, Topic
from services.kernel.bus.connection import client_options
from services.kernel.errors import Unavailable
from services.kernel.settings import Settings


@dataclass(frozen=True)
class WantedTopic:
    """A topic as it should exist on the cluster."""

    name: str
    partitions: int
    replication: int
    configs: dict[str, str]


def wanted_topics(settings: Settings) -> list[WantedTopic]:
    """Every topic of the table and its dead-letter twin, with this installation's prefix and sizes."""
    wanted = []
    for topic in TOPICS:
        partitions = topic.partitions if topic.partitions == 1 else settings.topic_partitions or topic.partitions
        wanted.append(WantedTopic(settings.topic(topic.name), partitions, settings.topic_replication, _configs(topic)))
        dead = {
            "retention.ms": str(30 * 24 * 3600 * 1000),
            "max.message.bytes": str(topic.max_message_bytes + (64 << 10)),
        }
        wanted.append(WantedTopic(settings.topic(topic.name + DLQ_SUFFIX), 1, settings.topic_replication, dead))
    return wanted


def _configs(topic: Topic) -> dict[str, str]:
    configs = {"max.message.bytes": str(topic.max_message_bytes)}
    if topic.compacted:
        configs |= {
            "cleanup.policy": "compact",
            "min.cleanable.dirty.ratio": "0.1",
            "segment.ms": str(3600 * 1000),
            "delete.retention.ms": str(24 * 3600 * 1000),
        }
    else:
        configs |= {"cleanup.policy": "delete", "retention.ms": str(topic.retention_ms)}
    return configs


async def apply_topics(settings: Settings) -> dict[str, str]:
    """Create what is missing, add partitions where there are too few. Returns topic -> `created|grown|unchanged`.

    Raises `Unavailable` when the broker does not answer or refuses; the detail lists what to ask the owner for.
    """
    admin = AIOKafkaAdminClient(**client_options(settings, "trimtab-topics"))
    try:
        await admin.start()
        return await _apply(admin, wanted_topics(settings))
    except (KafkaConnectionError, OSError) as error:
        raise Unavailable(
            f"Kafka at {settings.kafka_bootstrap} does not answer ({error}): start it, or set TRIMTAB_KAFKA_BOOTSTRAP"
        ) from error
    finally:
        await admin.close()


async def _apply(admin: AIOKafkaAdminClient, wanted: list[WantedTopic]) -> dict[str, str]:
    existing = {
        meta["topic"]: len(meta["partitions"]) for meta in await admin.describe_topics() if not meta["error_code"]
    }
    outcome = {topic.name: "unchanged" for topic in wanted}
    missing = [topic for topic in wanted if topic.name not in existing]
    if missing:
        answer = await admin.create_topics(
            [NewTopic(t.name, t.partitions, t.replication, topic_configs=t.configs) for t in missing]
        )
        for name, code, *rest in answer.topic_errors:
            if code == 0:
                outcome[name] = "created"
            elif code != 36:  # another process created it meanwhile
                lines = "\n".join(f"  {t.name} partitions={t.partitions} {t.configs}" for t in missing)
                raise Unavailable(
                    f"the cluster refused to create {name} ({for_code(code).__name__}: {rest[0] if rest else ''}); "
                    f"ask its owner for these topics:\n{lines}"
                )
    small = {t.name: t.partitions for t in wanted if existing.get(t.name, t.partitions) < t.partitions}
    if small:
        try:
            await admin.create_partitions({name: NewPartitions(count) for name, count in small.items()})
        except KafkaError as error:
            raise Unavailable(f"the cluster refused to add partitions to {', '.join(small)}: {error!r}") from error
        outcome |= dict.fromkeys(small, "grown")
    return outcome


async def describe_topics(settings: Settings) -> dict[str, int]:
    """Existing topic -> number of partitions, for the topics of this installation. Raises `Unavailable`."""
    admin = AIOKafkaAdminClient(**client_options(settings, "trimtab-topics"))
    try:
        await admin.start()
        names = {topic.name for topic in wanted_topics(settings)}
        found = await admin.describe_topics()
        return {meta["topic"]: len(meta["partitions"]) for meta in found if meta["topic"] in names}
    except (KafkaConnectionError, OSError) as error:
        raise Unavailable(f"Kafka at {settings.kafka_bootstrap} does not answer ({error})") from error
    finally:
        await admin.close()


async def set_topic_configs(settings: Settings) -> None:
    """Bring the settings of existing topics to what the table says (retention, compaction, sizes)."""
    admin = AIOKafkaAdminClient(**client_options(settings, "trimtab-topics"))
    await admin.start()
    try:
        await admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, t.name, configs=t.configs) for t in wanted_topics(settings)]
        )
    finally:
        await admin.close()
