"""CloudEvents 1.0 attributes and their Kafka protocol binding.

Binary mode is written; binary mode, structured mode and records without any headers are read. A record without
headers (a JSON line from a console producer) is a first-class citizen: its type follows from the topic's default and
its id is `topic/partition/offset`.

Source: CloudEvents 1.0.2, Kafka Protocol Binding, sections 3.2 (binary) and 3.3 (structured).
"""

import json
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from pydantic import Field, ValidationError

from schemas.base import Document, UtcTime

JSON = "application/json"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
STRUCTURED = "application/cloudevents+json"

Headers = list[tuple[str, bytes]]


class BadEnvelope(ValueError):
    """The record's headers or structured body are not a readable CloudEvent."""


class Envelope(Document):
    """The attributes of one event. Its identity is (`source`, `id`)."""

    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    time: UtcTime
    subject: str | None = None
    traceparent: str | None = None
    revision: int | None = Field(default=None, ge=0)
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

    Raises `BadEnvelope` with a sentence that names what is wrong.
    """
    texts = _decode(headers)
    content_type = texts.get("content-type", JSON)
    if content_type.startswith(STRUCTURED):
        return _structured(value)
    if "ce_type" in texts or "ce_id" in texts:
        fields: dict[str, object] = {name: texts[header] for name, header in _ATTRIBUTES.items() if header in texts}
        return _validated(fields | {"content_type": content_type}), value
    plain = Envelope(
        id=f"{topic}/{partition}/{offset}",
        source=f"kafka://{topic}",
        type=default_type,
        time=_from_milliseconds(timestamp_ms),
        content_type=content_type,
    )
    return plain, value


def _decode(headers: Iterable[tuple[str, bytes | None]]) -> dict[str, str]:
    try:
        return {name.lower(): (raw or b"").decode() for name, raw in headers}
    except UnicodeDecodeError as error:
        raise BadEnvelope(f"a header is not UTF-8: {error}") from error


def _structured(value: bytes) -> tuple[Envelope, bytes]:
    try:
        event = json.loads(value)
    except ValueError as error:
        raise BadEnvelope(f"the structured CloudEvent is not JSON: {error}") from error
    if not isinstance(event, dict):
        raise BadEnvelope("the structured CloudEvent is not a JSON object")
    fields: dict[str, object] = {name: event[header[3:]] for name, header in _ATTRIBUTES.items() if header[3:] in event}
    fields["content_type"] = event.get("datacontenttype", JSON)
    return _validated(fields), json.dumps(event.get("data")).encode()


def _validated(fields: dict[str, object]) -> Envelope:
    try:
        return Envelope.model_validate(fields)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise BadEnvelope(f"the CloudEvent attributes are not valid: {problems}") from error


def _from_milliseconds(timestamp_ms: int) -> datetime:
    return datetime.fromtimestamp(max(timestamp_ms, 0) / 1000, UTC)
