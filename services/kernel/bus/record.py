"""A record as the rest of the project sees it."""

from dataclasses import dataclass
from typing import NamedTuple

from schemas import topics
from schemas.base import Message
from schemas.codec import BadBody, decode
from schemas.envelope import BadEnvelope, Envelope, read_record
from services.kernel.errors import Undecodable

REPLAY_GROUP = "trimtab_replay_group"
"""Header of a replayed record: the only consumer group that handles it."""


class Partition(NamedTuple):
    """A partition; `topic` is the cluster's name of it, prefix included."""

    topic: str
    number: int


@dataclass(frozen=True, slots=True)
class Record:
    """One Kafka record. `topic` is the table's name, without the installation's prefix."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]

    def header(self, name: str) -> bytes | None:
        """The last header `name`, or None."""
        return next((value for key, value in reversed(self.headers) if key == name), None)

    def envelope(self) -> tuple[Envelope, bytes]:
        """The CloudEvent attributes and body. Raises `Undecodable`."""
        if self.value is None:
            raise Undecodable(f"the record {self.topic}/{self.partition}/{self.offset} has no value")
        try:
            return read_record(
                topic=self.topic,
                partition=self.partition,
                offset=self.offset,
                timestamp_ms=self.timestamp_ms,
                headers=self.headers,
                value=self.value,
                default_type=topics.BY_NAME[self.topic].default.TYPE,
            )
        except BadEnvelope as error:
            raise Undecodable(str(error)) from error

    def message(self) -> tuple[Envelope, Message]:
        """The envelope and the decoded message. Raises `Undecodable`."""
        envelope, body = self.envelope()
        kind = topics.message_of(envelope.type)
        if kind is None or topics.topic_of(kind).name != self.topic:
            raise Undecodable(f"the type {envelope.type!r} is not one that {self.topic} carries in this release")
        try:
            return envelope, decode(kind, body)
        except BadBody as error:
            raise Undecodable(str(error)) from error
