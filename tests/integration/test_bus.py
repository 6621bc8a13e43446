"""The bus against the real broker: one effect per event, retries, dead letters, tables, revisions."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import Label, LabelsObserved
from services.kernel.bus import dead_letters
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.bus.table_reader import TableReader
from services.kernel.bus.tail import read_to_end
from services.kernel.service import Service
from tests.probe.app import ProbeSettings, build, effects
from tests.waiting import until
from trimtab.local.broker import LocalBroker


@pytest.fixture
async def settings(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> ProbeSettings:
    """Settings of a probe with topics of its own."""
    settings = ProbeSettings(
        kafka_bootstrap=broker.bootstrap,
        topic_prefix=topic_prefix,
        topic_partitions=2,
        data_dir=tmp_path,
        retry_first_seconds=0.02,
        retry_max_seconds=0.05,
        retry_attempts=3,
    )
    await apply_topics(settings)
    return settings


@pytest.fixture
async def producer(settings: ProbeSettings) -> AsyncIterator[Producer]:
    """A producer of the test's own."""
    producer = Producer(settings, "test")
    await producer.start()
    yield producer
    await producer.stop()


@pytest.fixture
async def probe(settings: ProbeSettings) -> AsyncIterator[Service]:
    """A running probe, in this process."""
    service = build(settings)
    await service.start()
    yield service
    await service.stop()


def labels(*ids: str) -> LabelsObserved:
    return LabelsObserved(model_id="m", labels=tuple(Label(prediction_id=i, label="a") for i in ids))


async def send(
    producer: Producer, message: LabelsObserved, *, event_id: str | None = None, revision: int | None = None
) -> None:
    content_type, body = encode(message)
    envelope = Envelope(
        id=event_id or new_id(),
        source="/test",
        type=message.TYPE,
        time="2026-01-01T00:00:00Z",
        subject=message.key,
        revision=revision,
        content_type=content_type,
    )
    await producer.send("labels", body, key=message.key.encode(), headers=to_headers(envelope))


async def seen(service: Service) -> list[str]:
    return await service.db.read(
        lambda c: list(c.execute(sa.select(effects.c.prediction_id).order_by(effects.c.seq)).scalars())
    )


async def test_an_event_has_one_effect_however_often_it_arrives(probe: Service, producer: Producer) -> None:
    for _ in range(3):
        await send(producer, labels("one"), event_id="same")
    await send(producer, labels("two"))
    await until(lambda: _has(probe, "two"))
    assert await seen(probe) == ["one", "two"]


async def _has(service: Service, *ids: str) -> bool:
    return set(ids) <= set(await seen(service))


async def test_a_passed_revision_is_without_effect(probe: Service, producer: Producer) -> None:
    await send(producer, labels("new"), revision=7)
    await send(producer, labels("old"), revision=6)
    await send(producer, labels("newer"), revision=8)
    await until(lambda: _has(probe, "newer"))
    assert await seen(probe) == ["new", "newer"]


async def test_a_handmade_json_line_is_handled(probe: Service, producer: Producer) -> None:
    line = json.dumps({"modelId": "m", "labels": [{"predictionId": "by-hand", "label": "a"}]})
    await producer.send("labels", line.encode())
    await until(lambda: _has(probe, "by-hand"))


async def test_a_structured_cloudevent_is_handled(probe: Service, producer: Producer) -> None:
    event = {
        "specversion": "1.0",
        "id": "s1",
        "source": "/elsewhere",
        "type": LabelsObserved.TYPE,
        "time": "2026-01-01T00:00:00Z",
        "data": {"model_id": "m", "labels": [{"prediction_id": "structured", "label": 1.5}]},
    }
    headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
    await producer.send("labels", json.dumps(event).encode(), headers=headers)
    await until(lambda: _has(probe, "structured"))


@pytest.mark.parametrize(
    ("value", "headers", "error"),
    [
        (b"not json", [], "undecodable"),
        (b"\xff\xfe", [], "undecodable"),
        (None, [], "undecodable"),
        (
            b"{}",
            [("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"unknown.v9"), ("ce_time", b"2026-01-01T00:00:00Z")],
            "undecodable",
        ),
        (b"{}", [("ce_id", b"1"), ("ce_type", b"\xff")], "undecodable"),
    ],
)
async def test_an_unreadable_record_goes_to_the_dead_letters_and_the_rest_flows(
    probe: Service,
    producer: Producer,
    settings: ProbeSettings,
    value: bytes | None,
    headers: list[tuple[str, bytes]],
    error: str,
) -> None:
    offset = await producer.send("labels", value, key=b"m", headers=headers)
    await send(producer, labels("after"))
    await until(lambda: _has(probe, "after"))
    found = [letter async for letter in dead_letters.letters(settings, "labels")]
    assert [(letter.topic, letter.offset, letter.group, letter.error, letter.value) for letter in found] == [
        ("labels", offset, "probe", error, value)
    ]


async def test_a_failing_handler_rolls_back_its_own_record_only_and_a_replay_is_handled_again(
    probe: Service, producer: Producer, settings: ProbeSettings
) -> None:
    await send(producer, labels("before"))
    await send(producer, labels("half", "poison"), event_id="bad")
    await send(producer, labels("after"))
    await until(lambda: _has(probe, "after"))
    assert await seen(probe) == ["before", "after"]
    (letter,) = [letter async for letter in dead_letters.letters(settings)]
    assert (letter.error, letter.detail) == ("invalid-input", "a poison label")
    await dead_letters.replay(producer, letter)
    await send(producer, labels("last"))
    await until(lambda: _has(probe, "last"))
    assert len([letter async for letter in dead_letters.letters(settings)]) == 2


async def test_a_retriable_failure_is_tried_a_bounded_number_of_times_in_order(
    probe: Service, producer: Producer, settings: ProbeSettings
) -> None:
    await send(producer, labels("first"))
    await send(producer, labels("not-yet"))
    await send(producer, labels("second"))
    await until(lambda: _has(probe, "second"))
    assert await seen(probe) == ["first", "second"]
    (letter,) = [letter async for letter in dead_letters.letters(settings)]
    assert letter.error == "unavailable"


async def test_every_effect_is_published_with_its_cause(
    probe: Service, producer: Producer, settings: ProbeSettings
) -> None:
    await send(producer, labels("x"), event_id="the-cause")

    async def alert() -> Envelope | None:
        found = [record async for record in read_to_end(settings, "alerts")]
        return found[0].envelope()[0] if found else None

    envelope = await until(alert)
    assert envelope is not None
    assert (envelope.causation_id, envelope.correlation_id, envelope.source) == (
        "the-cause",
        "the-cause",
        "/trimtab/probe",
    )


async def test_a_table_keeps_the_newest_revision_of_each_key(settings: ProbeSettings, producer: Producer) -> None:
    newest: dict[str, int | None] = {}

    def on_message(key: str, message: object, envelope: Envelope | None) -> None:
        newest[key] = envelope.revision if envelope else None

    for key, revision in (("a", 1), ("b", 1), ("a", 3), ("a", 2)):
        body = {"key_id": key, "name": key, "sha256": "0", "scopes": ["read"]}
        envelope = Envelope(
            id=new_id(),
            source="/t",
            type="trimtab.access.granted.v1",
            time="2026-01-01T00:00:00Z",
            revision=revision,
        )
        await producer.send("access", json.dumps(body).encode(), key=key.encode(), headers=to_headers(envelope))
    await producer.send("access", None, key=b"b")
    reader = TableReader(settings, "access", on_message)
    await reader.start()
    await until(lambda: reader.caught_up.is_set() and "b" in newest)
    await until(lambda: newest == {"a": 3, "b": None})
    await reader.stop()
