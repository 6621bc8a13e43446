"""CloudEvents 1.0 attributes and their Kafka protocol binding.

Binary mode is written; binary mode, structured mode and records without any headers are read. A record without
headers (a JSON line from a console producer) is a first-class citizen: its type follows from the topic's default and
its id is `topic/partition/offset`.

Source: CloudEvents 1.0.2, Kafka Protocol Binding, sections 3.2 (binary) and 3.3 (structured).
"""

import base64
import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, StringConstraints, ValidationError

from schemas.base import Document

JSON = "application/json"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
STRUCTURED = "application/cloudevents+json"

Headers = list[tuple[str, bytes]]


class BadEnvelope(ValueError):
    """The record's headers or structured body are not a readable CloudEvent."""


Attribute = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
"""What every consumer's inbox can hold: 1 to 256 characters, no NUL (PostgreSQL takes none)."""

Subject = Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00]*$")]


def _in_utc(time: datetime) -> datetime:
    try:
        return time.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time lies outside of the years 1 to 9999 in UTC") from error


EventTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]
"""RFC 3339 with any offset, as CloudEvents allows; kept in UTC."""


class Envelope(Document):
    """The attributes of one event. Its identity is (`source`, `id`)."""

    id: Attribute
    source: Attribute
    type: Attribute
    time: EventTime
    subject: Subject | None = None
    traceparent: str | None = None
    revision: int | None = Field(default=None, ge=0, lt=2**63)
    causation_id: str | None = None
    correlation_id: str | None = None
    content_type: str = JSON


_ATTRIBUTES = {
    "id": "ce_id",
    "source": "ce_source",
    "type": "ce_type",
    "time": "ce_time",
    "subject": "ce_subject",
    "traceparent": "ce_traceparent",
    "revision": "ce_revision",
    "causation_id": "ce_causationid",
    "correlation_id": "ce_correlationid",
}


def new_id() -> str:
    """A fresh event id (UUID version 4)."""
    return str(uuid.uuid4())


def to_headers(envelope: Envelope) -> Headers:
    """The Kafka headers of `envelope` in binary mode."""
    headers: Headers = [("ce_specversion", b"1.0")]
    for attribute, header in _ATTRIBUTES.items():
        value = getattr(envelope, attribute)
        if value is None:
            continue
        text = value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else str(value)
        headers.append((header, text.encode()))
    headers.append(("content-type", envelope.content_type.encode()))
    return headers


def read_record(
    *,
    topic: str,
    partition: int,
    offset: int,
    timestamp_ms: int,
    headers: Iterable[tuple[str, bytes | None]],
    value: bytes,
    default_type: str,
) -> tuple[Envelope, bytes]:
    """The envelope and the body of a record, whichever mode it was written in.

    An event without a time (CloudEvents allows that) has the record's timestamp. Raises `BadEnvelope` with a sentence
    that names what is wrong.
    """
    texts = _decode(headers)
    written_at = _from_milliseconds(timestamp_ms)
    content_type = texts.get("content-type", JSON)
    if content_type.startswith(STRUCTURED):
        return _structured(value, written_at)
    if "ce_type" in texts or "ce_id" in texts:
        fields: dict[str, object] = {name: texts[header] for name, header in _ATTRIBUTES.items() if header in texts}
        return _validated({"time": written_at} | fields | {"content_type": content_type}), value
    plain = Envelope(
        id=f"{topic}/{partition}/{offset}",
        source=f"kafka://{topic}",
        type=default_type,
        time=written_at,
        content_type=content_type,
    )
    return plain, value


def _decode(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    try:
        return {name.lower(): (raw or b"").decode() for name, raw in headers}
    except UnicodeDecodeError as error:
        raise BadEnvelope(f"a header is not UTF-8: {error}") from error


def _structured(value: bytes, written_at: datetime) -> tuple[Envelope, bytes]:
    try:
        event = json.loads(value)
        body = _data(event) if isinstance(event, dict) else None
    except (ValueError, RecursionError) as error:
        raise BadEnvelope(f"the structured CloudEvent can't be read: {error}") from error
    if body is None:
        raise BadEnvelope("the structured CloudEvent is not a JSON object")
    fields: dict[str, object] = {name: event[header[3:]] for name, header in _ATTRIBUTES.items() if header[3:] in event}
    fields["content_type"] = event.get("datacontenttype", JSON)
    return _validated({"time": written_at} | fields), body


def _data(event: dict[str, object]) -> bytes:
    """The body of a structured event: `data`, or the bytes in `data_base64` (CloudEvents JSON format, section 3.1)."""
    encoded = event.get("data_base64")
    if encoded is None:
        return json.dumps(event.get("data")).encode()
    return base64.b64decode(str(encoded), validate=True)


def _validated(fields: dict[str, object]) -> Envelope:
    try:
        return Envelope.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadEnvelope(f"the CloudEvent attributes are not valid: {problems}") from error


def _from_milliseconds(timestamp_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(max(timestamp_ms, 0) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.max.replace(tzinfo=UTC)  # a producer's clock is no reason to lose its record
