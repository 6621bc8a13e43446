"""Whatever an envelope holds survives the three ways of writing it; whatever a record holds is read or refused."""

import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.base import Message
from schemas.codec import BadBody, decode
from schemas.envelope import BadEnvelope, Envelope, read_record, to_headers
from schemas.topics import all_messages

MESSAGES: list[type[Message]] = [message for _, message in all_messages()]

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=256)
subject = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200)
times = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC))
envelopes = st.builds(
    Envelope,
    id=text,
    source=text,
    type=text,
    time=times,
    subject=st.none() | subject,
    traceparent=st.none() | text,
    revision=st.none() | st.integers(0, 2**63 - 1),
    causation_id=st.none() | text,
    correlation_id=st.none() | text,
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=8), children, max_size=4),
    max_leaves=12,
)


def read(headers: list[tuple[str, bytes | None]], value: bytes, timestamp_ms: int = 0) -> tuple[Envelope, bytes]:
    return read_record(
        topic="labels",
        partition=0,
        offset=0,
        timestamp_ms=timestamp_ms,
        headers=headers,
        value=value,
        default_type="t",
    )


@given(envelopes, st.binary())
def test_binary_mode_round_trip(envelope: Envelope, body: bytes) -> None:
    headers: list[tuple[str, bytes | None]] = [*to_headers(envelope)]
    assert read(headers, body) == (envelope, body)


@given(envelopes, anything)
def test_structured_mode_round_trip(envelope: Envelope, data: object) -> None:
    event = {name.removeprefix("ce_"): value.decode() for name, value in to_headers(envelope) if name != "content-type"}
    value = json.dumps(event | {"data": data}).encode()
    read_back, body = read([("content-type", b"application/cloudevents+json")], value)
    assert read_back == envelope
    assert repr(json.loads(body)) == repr(json.loads(json.dumps(data)))


@given(st.binary(), st.integers(-(2**63), 2**63 - 1))
def test_a_plain_record_is_always_read(value: bytes, timestamp_ms: int) -> None:
    envelope, body = read([], value, timestamp_ms)
    assert (envelope.id, envelope.type, body) == ("labels/0/0", "t", value)


header_names = st.sampled_from(
    [name for name, _ in to_headers(Envelope(id="1", source="s", type="t", time=datetime(2026, 1, 1, tzinfo=UTC)))]
) | st.sampled_from(["ce_subject", "ce_revision", "ce_traceparent", "CE_ID", "x"])


@given(st.lists(st.tuples(header_names, st.none() | st.binary(max_size=300)), max_size=8), st.binary(), st.integers())
def test_hostile_headers_are_read_or_refused(
    headers: list[tuple[str, bytes | None]], value: bytes, timestamp_ms: int
) -> None:
    try:
        envelope, _ = read(headers, value, timestamp_ms)
    except BadEnvelope:
        return
    assert 0 < len(envelope.id) <= 256
    assert "\0" not in envelope.id + envelope.source + (envelope.subject or "")
    assert envelope.revision is None or 0 <= envelope.revision < 2**63
    assert envelope.time.tzinfo is UTC


attributes = ["id", "source", "type", "time", "subject", "revision", "data", "data_base64", "datacontenttype"]


@given(anything | st.dictionaries(st.sampled_from(attributes), anything))
def test_hostile_structured_events_are_read_or_refused(event: object) -> None:
    try:
        envelope, _ = read([("content-type", b"application/cloudevents+json")], json.dumps(event).encode())
    except BadEnvelope:
        return
    assert envelope.id


@given(st.sampled_from(MESSAGES), anything | st.binary())
def test_hostile_bodies_are_read_or_refused(kind: type[Message], content: object) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    try:
        message = decode(kind, body)
    except BadBody:
        return
    assert isinstance(message, kind)


@given(st.data())
def test_hostile_fields_are_read_or_refused(data: st.DataObject) -> None:
    """Objects with the right names and any values get further than random ones."""
    message: type[Message] = data.draw(st.sampled_from(MESSAGES))
    body = data.draw(st.dictionaries(st.sampled_from(sorted(message.model_fields)), anything))
    try:
        decoded = decode(message, json.dumps(body).encode())
    except BadBody:
        return
    assert decoded.key
