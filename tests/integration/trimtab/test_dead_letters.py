"""`trimtab dlq` and `trimtab topics` against the real broker, as programs of their own."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import Label, LabelsObserved
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.service import Service
from tests.probe.app import ProbeSettings, build, effects
from tests.waiting import until
from trimtab.local.broker import LocalBroker


@pytest.fixture
def settings(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> ProbeSettings:
    return ProbeSettings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=1, data_dir=tmp_path
    )


@pytest.fixture
async def probe(settings: ProbeSettings) -> AsyncIterator[Service]:
    """A running probe: the label `poison` dies in it."""
    await apply_topics(settings)
    service = build(settings)
    await service.start()
    yield service
    await service.stop()


async def _trimtab(settings: ProbeSettings, *arguments: str) -> tuple[int, Any, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "trimtab", *arguments, "--json"),
        env={
            **os.environ,
            "TRIMTAB_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
            "TRIMTAB_TOPIC_PREFIX": settings.topic_prefix,
            "TRIMTAB_TOPIC_PARTITIONS": "1",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, json.loads(out) if out else None, err.decode()


async def _send(settings: ProbeSettings, *prediction_ids: str) -> None:
    producer = Producer(settings, "test")
    await producer.start()
    for prediction_id in prediction_ids:
        message = LabelsObserved(model_id="m", labels=(Label(prediction_id=prediction_id, label="a"),))
        _, body = encode(message)
        envelope = Envelope(id=new_id(), source="test", type=message.TYPE, time=datetime.now(UTC))
        await producer.send("labels", body, key=b"m", headers=to_headers(envelope))
    await producer.stop()


async def test_a_dead_letter_is_listed_shown_replayed_and_dropped(settings: ProbeSettings, probe: Service) -> None:
    await _send(settings, "poison", "fine", "poison")

    async def letters() -> list[dict[str, Any]]:
        status, document, complaint = await _trimtab(settings, "dlq", "list", "labels")
        assert status == 0, complaint
        found: list[dict[str, Any]] = document["letters"]
        return found

    async def two() -> list[dict[str, Any]] | None:
        found = await letters()
        return found if len(found) == 2 else None

    first, second = await until(two, 30, "two dead letters")
    assert (first["letter"], first["group"], first["error"]) == ("labels/0", "probe", "invalid-input")
    assert first["detail"] == "a poison label"

    status, shown, _ = await _trimtab(settings, "dlq", "show", "labels/0")
    assert status == 0
    assert json.loads(shown["body"])["labels"][0]["prediction_id"] == "poison"
    assert shown["headers"]["ce_source"] == "test"

    status, _, _ = await _trimtab(settings, "dlq", "drop", "labels/0")
    assert status == 0
    assert [letter["letter"] for letter in await letters()] == [second["letter"]]

    status, replayed, _ = await _trimtab(settings, "dlq", "replay", second["letter"])
    assert status == 0
    assert replayed["replayed_at_offset"] == 3
    await until(two, 30, "the replayed letter, dead again")
    assert await probe.db.read(lambda connection: len(connection.execute(effects.select()).all())) == 1


async def test_a_letter_that_is_not_there(settings: ProbeSettings, probe: Service) -> None:
    status, document, complaint = await _trimtab(settings, "dlq", "show", "labels/99")
    assert (status, document) == (1, None)
    assert json.loads(complaint)["error"] == "not-found"


async def test_topics_are_missing_then_made_then_there(settings: ProbeSettings) -> None:
    status, before, _ = await _trimtab(settings, "topics")
    assert status == 0
    assert {topic["existing_partitions"] for topic in before["topics"]} == {None}
    status, made, _ = await _trimtab(settings, "topics", "apply")
    assert (status, set(made["topics"].values())) == (0, {"created"})
    status, after, _ = await _trimtab(settings, "topics")
    assert all(topic["existing_partitions"] == topic["partitions"] for topic in after["topics"])
