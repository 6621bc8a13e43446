"""ONE table of topics: what travels where, keyed by what, kept how long, owned by whom."""

from collections.abc import Iterator
from dataclasses import dataclass

from schemas import commands, events, predictions
from schemas.base import Message

DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Topic:
    """One topic. `default` is the type of a record without headers; `retention_ms` is unused when compacted."""

    name: str
    messages: tuple[type[Message], ...]
    default: type[Message]
    producers: str
    consumers: str
    partitions: int = 4
    retention_ms: int = 14 * DAY_MS
    compacted: bool = False
    max_message_bytes: int = 1 << 20

    @property
    def key(self) -> str:
        """The field that keys the topic's records."""
        return self.default.KEY

    @property
    def kept_for_ever(self) -> bool:
        """Whether the topic promises that its records, or the newest of each key, never go."""
        return self.compacted or self.retention_ms < 0


TOPICS: tuple[Topic, ...] = (
    Topic(
        "training-requests",
        (commands.TrainingRequested, commands.TrainingCancelled),
        commands.TrainingRequested,
        "API, tuner, loop",
        "trainer",
    ),
    Topic(
        "training-events",
        (events.JobStarted, events.JobProgress, events.JobSucceeded, events.JobFailed, events.JobCancelled),
        events.JobSucceeded,
        "trainer",
        "tuner, loop, registry, UI",
    ),
    Topic(
        "model-events",
        (
            events.ModelRegistered,
            events.ModelPromoted,
            events.ModelArchived,
            events.ModelAliased,
            events.VersionAnnotated,
            events.ApprovalDecided,
            events.CheckRecorded,
            events.PolicyChanged,
            events.ControlChanged,
            events.VersionSigned,
            events.VersionBytesDropped,
            events.VersionBytesReturned,
            events.SignerChanged,
        ),
        events.ModelRegistered,
        "registry",
        "serving, monitor, loop",
        retention_ms=-1,
    ),
    Topic(
        "deployments",
        (events.DeploymentWanted,),
        events.DeploymentWanted,
        "registry",
        "every serving replica, monitor, loop",
        partitions=1,
        compacted=True,
    ),
    Topic(
        "deployment-status",
        (events.ReplicaStatus,),
        events.ReplicaStatus,
        "serving",
        "registry, loop, UI",
        partitions=1,
        compacted=True,
    ),
    Topic(
        "predictions",
        (predictions.PredictionBatch, predictions.Prediction),
        predictions.Prediction,
        "serving, anyone",
        "monitor",
        retention_ms=3 * DAY_MS,
        max_message_bytes=8 << 20,
    ),
    Topic("labels", (events.LabelsObserved,), events.LabelsObserved, "users, monitor's API", "monitor"),
    Topic(
        "drift-signals",
        (
            events.DriftFound,
            events.DriftOver,
            events.SchemaSkewFound,
            events.PerformanceWorse,
            events.PerformanceRestored,
        ),
        events.DriftFound,
        "monitor",
        "loop, users",
    ),
    Topic("loop-events", (events.LoopStepped,), events.LoopStepped, "loop", "UI, users", retention_ms=-1),
    Topic(
        "access",
        (events.ApiKeyGranted, events.ApiKeyRevoked),
        events.ApiKeyGranted,
        "registry",
        "every process",
        partitions=1,
        compacted=True,
    ),
    Topic("alerts", (events.Alert,), events.Alert, "registry, monitor, loop", "alert sender"),
)

BY_NAME: dict[str, Topic] = {topic.name: topic for topic in TOPICS}
DLQ_SUFFIX = ".dlq"


def all_messages() -> Iterator[tuple[Topic, type[Message]]]:
    """Every (topic, message type) pair of the table."""
    for topic in TOPICS:
        for message in topic.messages:
            yield topic, message


_TOPIC_OF: dict[type[Message], Topic] = {message: topic for topic, message in all_messages()}
_BY_TYPE: dict[str, type[Message]] = {message.TYPE: message for _, message in all_messages()}


def topic_of(message: type[Message]) -> Topic:
    """The one topic that carries `message`."""
    return _TOPIC_OF[message]


def message_of(type_name: str) -> type[Message] | None:
    """The message model of a CloudEvents type, or None for a type that this release does not know."""
    return _BY_TYPE.get(type_name)
