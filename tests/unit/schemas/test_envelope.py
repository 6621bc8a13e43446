"""Reading and writing CloudEvents in Kafka records: examples and refusals."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from schemas.codec import BadBody, decode, encode
from schemas.envelope import ARROW_STREAM, BadEnvelope, Envelope, read_record, to_headers
from schemas.events import JobProgress, JobStarted, LabelsObserved, Metrics
from schemas.predictions import PredictionBatch
from tests.golden.samples import prediction_batch

NOON_MS = 1_781_438_400_000


def read(
    headers: dict[str, bytes | None] | None = None, value: bytes = b"{}", timestamp_ms: int = NOON_MS
) -> tuple[Envelope, bytes]:
    return read_record(
        topic="labels",
        partition=3,
        offset=17,
        timestamp_ms=timestamp_ms,
        headers=list((headers or {}).items()),
        value=value,
        default_type=LabelsObserved.TYPE,
    )


def structured(event: Any) -> tuple[Envelope, bytes]:
    return read({"content-type": b"application/cloudevents+json; charset=utf-8"}, json.dumps(event).encode())


BINARY: dict[str, bytes | None] = {
    "ce_specversion": b"1.0",
    "ce_id": b"1",
    "ce_source": b"/elsewhere",
    "ce_type": b"trimtab.labels.observed.v1",
    "ce_time": b"2026-06-14T12:00:00Z",
}
STRUCTURED = {"specversion": "1.0", "id": "1", "source": "/elsewhere", "type": "x", "time": "2026-06-14T12:00:00Z"}


def test_a_record_without_headers_is_of_the_topics_default_type() -> None:
    envelope, body = read(value=b'{"model_id": "m"}')
    assert (envelope.source, envelope.id, envelope.type) == ("kafka://labels", "labels/3/17", LabelsObserved.TYPE)
    assert envelope.time == datetime(2026, 6, 14, 12, tzinfo=UTC)
    assert body == b'{"model_id": "m"}'


def test_header_names_may_be_of_any_case() -> None:
    envelope, _ = read({name.upper(): value for name, value in BINARY.items()})
    assert envelope.id == "1"


def test_an_event_without_a_time_has_the_records() -> None:
    envelope, _ = read({name: value for name, value in BINARY.items() if name != "ce_time"})
    assert envelope.time == datetime(2026, 6, 14, 12, tzinfo=UTC)


def test_a_time_with_an_offset_is_kept_in_utc() -> None:
    envelope, _ = read(BINARY | {"ce_time": b"2026-06-14T14:00:00+02:00"})
    assert envelope.time.isoformat() == "2026-06-14T12:00:00+00:00"


@pytest.mark.parametrize("timestamp_ms", [-1, 2**62, -(2**62)])
def test_a_producers_impossible_clock_loses_nothing(timestamp_ms: int) -> None:
    envelope, _ = read(timestamp_ms=timestamp_ms)
    assert envelope.time.tzinfo is UTC


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ce_id": b""}, "id"),
        ({"ce_id": b"x" * 257}, "id"),
        ({"ce_id": b"a\0b"}, "id"),
        ({"ce_id": None}, "id"),
        ({"ce_source": b""}, "source"),
        ({"ce_type": b"\xff"}, "UTF-8"),
        ({"ce_time": b"noon"}, "time"),
        ({"ce_time": b"2026-06-14T12:00:00"}, "time"),
        ({"ce_time": b"0001-01-01T00:00:00+12:00"}, "time"),
        ({"ce_subject": b"x" * 201}, "subject"),
        ({"ce_revision": b"-1"}, "revision"),
        ({"ce_revision": b"9223372036854775808"}, "revision"),
        ({"ce_revision": b"one"}, "revision"),
    ],
)
def test_unreadable_attributes_are_named(change: dict[str, bytes | None], named: str) -> None:
    with pytest.raises(BadEnvelope, match=named):
        read(BINARY | change)


@pytest.mark.parametrize("missing", ["ce_source", "ce_type"])
def test_a_missing_attribute_is_named(missing: str) -> None:
    with pytest.raises(BadEnvelope, match=missing.removeprefix("ce_")):
        read({name: value for name, value in BINARY.items() if name != missing})


def test_structured_mode_is_read() -> None:
    envelope, body = structured(STRUCTURED | {"data": {"model_id": "m"}, "traceparent": "00-1-2-01", "revision": 5})
    assert (envelope.id, envelope.revision, envelope.traceparent) == ("1", 5, "00-1-2-01")
    assert json.loads(body) == {"model_id": "m"}


def test_structured_mode_carries_bytes_in_base64() -> None:
    content_type, batch = encode(prediction_batch())
    event = STRUCTURED | {"datacontenttype": content_type, "data_base64": base64.b64encode(batch).decode()}
    envelope, body = structured(event)
    assert envelope.content_type == ARROW_STREAM
    assert decode(PredictionBatch, body).first_sequence == 4096


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"[1]",
        b'"text"',
        b"{",
        b"\xff\xfe",
        b"[" * 200_000,
        b'{"id":' * 100_000,
        json.dumps(STRUCTURED | {"data_base64": "@@@"}).encode(),
        json.dumps(STRUCTURED | {"id": 7}).encode(),
        json.dumps(STRUCTURED | {"datacontenttype": ["x"]}).encode(),
        json.dumps({"id": "1"}).encode(),
        b'{"id": "\\ud800", "source": "s", "type": "t"}',
    ],
    ids=lambda value: repr(value[:24]),
)
def test_a_hostile_structured_event_is_refused(value: bytes) -> None:
    with pytest.raises(BadEnvelope):
        read({"content-type": b"application/cloudevents+json"}, value)


def test_extra_headers_do_not_disturb() -> None:
    envelope, body = read(BINARY | {"b3": b"1", "kafka_foo": None}, b"body")
    assert envelope.id == "1"
    assert body == b"body"


def test_absent_attributes_make_no_headers() -> None:
    headers = to_headers(Envelope(id="1", source="/s", type="t", time=datetime(2026, 1, 1, tzinfo=UTC)))
    assert dict(headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"1",
        "ce_source": b"/s",
        "ce_type": b"t",
        "ce_time": b"2026-01-01T00:00:00Z",
        "content-type": b"application/json",
    }


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'{"labels": []}', b"\xff", b"[" * 100_000, b'{"model_id": "a/b"}']
)
def test_an_unfit_body_is_refused_with_the_messages_name(body: bytes) -> None:
    with pytest.raises(BadBody, match="not a LabelsObserved"):
        decode(LabelsObserved, body)


def test_both_spellings_of_a_field_are_read_and_unknown_ones_ignored() -> None:
    one = decode(JobStarted, b'{"jobId": "j", "modelId": "m", "worker": "w", "cycleId": "c", "fromTheFuture": 1}')
    assert one == JobStarted(job_id="j", model_id="m", worker="w", cycle_id="c")


def test_a_number_that_is_not_finite_survives_as_not_a_number() -> None:
    metrics: Metrics = {"loss": float("nan"), "val_loss": float("inf"), "accuracy": 0.5}
    _, body = encode(JobProgress(job_id="j", model_id="m", epoch=1, epochs=2, metrics=metrics))
    assert json.loads(body)["metrics"] == {"loss": None, "val_loss": None, "accuracy": 0.5}
    again = decode(JobProgress, body)
    assert repr(again.metrics) == "{'loss': nan, 'val_loss': nan, 'accuracy': 0.5}"
