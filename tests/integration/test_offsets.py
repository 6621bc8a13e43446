"""Offsets of a backup and events told again, against the real broker."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.base import Message
from schemas.envelope import Envelope
from schemas.events import DeploymentWanted, Label, LabelsObserved, ModelRegistered, Route
from services.kernel.bus import replay
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.offsets import (
    Offsets,
    PartitionState,
    compare,
    read_offsets,
    records_after,
    remake_topics,
    set_offsets,
)
from services.kernel.bus.producer import Producer
from services.kernel.bus.replay import Selection
from services.kernel.bus.table_reader import TableReader
from services.kernel.bus.tail import read_to_end
from services.kernel.errors import Conflict
from services.kernel.service import Service
from services.kernel.tables import outbox
from tests.probe.app import ProbeSettings, build, effects
from tests.waiting import until
from trimtab.local.broker import LocalBroker


@pytest.fixture
async def settings(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> ProbeSettings:
    """Settings of a probe with topics of its own."""
    settings = ProbeSettings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=2, data_dir=tmp_path
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


async def say(producer: Producer, *ids: str, partition: int = 0) -> None:
    """One hand-made record with a label for each id."""
    for name in ids:
        line = LabelsObserved(model_id="m", labels=(Label(prediction_id=name, label="a"),)).model_dump_json().encode()
        await producer.send("labels", line, partition=partition)


async def seen(service: Service) -> list[str]:
    query = sa.select(effects.c.prediction_id).order_by(effects.c.seq)
    return await service.db.read(lambda connection: list(connection.execute(query).scalars()))


def named(offsets: Offsets, name: str) -> PartitionState:
    return next(state for state in offsets.partitions if state.name == name)


async def test_a_group_goes_on_from_an_offset_that_was_set(settings: ProbeSettings, producer: Producer) -> None:
    await say(producer, "a", "b", "c")
    probe = build(settings)
    await probe.start()
    group = probe.members[0].group
    await until(lambda: seen(probe), what="the first effect")

    async def committed() -> bool:
        return (await read_offsets(settings, [group])).groups[group].get("labels/0") == 3

    await until(committed, what="the commit")
    offsets = await read_offsets(settings, [group, "nobody"])
    assert offsets.groups["nobody"] == {}
    assert (named(offsets, "labels/0").first, named(offsets, "labels/0").end) == (0, 3)
    assert offsets.behind(group) == 0
    with pytest.raises(Conflict, match="stop every service"):
        await set_offsets(settings, group, {"labels/0": 1})
    await probe.stop()

    await set_offsets(settings, group, {"labels/0": 1})
    assert (await read_offsets(settings, [group])).behind(group) == 2
    await probe_forgets(settings)
    again = build(settings)
    await again.start()
    await until(lambda: seen_all(again, "b", "c"), what="what lies behind the offset")
    await again.stop()


async def seen_all(service: Service, *ids: str) -> bool:
    return await seen(service) == list(ids)


async def probe_forgets(settings: ProbeSettings) -> None:
    """A database that was restored to an earlier state."""
    for path in settings.data_dir.glob("*.db*"):
        await asyncio.to_thread(path.unlink)


async def test_a_topic_that_was_made_anew_is_told_from_the_one_before(
    settings: ProbeSettings, producer: Producer
) -> None:
    await say(producer, "a", "b")
    before = await read_offsets(settings, [])
    present = await compare(settings, before.partitions)
    assert all(state.same for state in present.values())
    await say(producer, "c")
    present = await compare(settings, before.partitions)
    assert present["labels/0"].same, "it has grown"
    assert [record.offset async for record in records_after(settings, {"labels/0": 2})] == [2]
    assert [record async for record in records_after(settings, {})] == []

    await remake_topics(settings, ["labels"])
    present = await compare(settings, before.partitions)
    assert (present["labels/0"].first, present["labels/0"].same) == (0, False), "it is shorter"
    assert present["labels/1"].same, "it never held anything"
    await say(producer, "x", "y", "z")
    present = await compare(settings, before.partitions)
    assert not present["labels/0"].same, "it is longer, and holds other records"
    gone = before.partitions[0].model_copy(update={"topic": "labels", "partition": 99})
    assert await compare(settings, [gone]) == {}


@pytest.fixture
async def telling(settings: ProbeSettings) -> AsyncIterator[Service]:
    """A service whose outbox is relayed."""
    service = build(settings)
    await service.start()
    yield service
    await service.stop()


def registered(number: int) -> ModelRegistered:
    return ModelRegistered(
        model_id="m",
        version=f"1.{number}.0",
        artifact=f"models/m/{number}",
        manifest_digest="0" * 64,
        content_digest="0" * 64,
        size_bytes=1,
        registered_by="test",
    )


def wanted(revision: int) -> DeploymentWanted:
    route = Route(name="r", version=f"1.{revision}.0", weight=100, artifact="a", manifest_digest="0" * 64)
    return DeploymentWanted(
        model_id="m", revision=revision, routes=(route,), actor="t", reason="", since="2026-01-01T00:00:00Z"
    )


async def tell(service: Service, *messages: Message) -> None:
    for message in messages:
        kind = "model" if isinstance(message, ModelRegistered) else "deployment"
        await service.work.run(lambda uow, m=message, k=kind: uow.publish(m, revision=uow.next_revision(k, "m")))  # type: ignore[misc]


async def tell_again(service: Service, *topics: str) -> int:
    told = await service.db.write(lambda connection: replay.mark(connection, Selection(topics)))
    assert service.work.relay is not None
    service.work.relay.wake()
    return told


async def events(settings: ProbeSettings, topic: str) -> list[Envelope]:
    return [record.message()[0] async for record in read_to_end(settings, topic)]


async def test_what_is_told_again_has_its_id_its_revision_and_its_order(
    settings: ProbeSettings, telling: Service
) -> None:
    await tell(telling, *map(registered, range(20)))
    first = await until(lambda: _if(20, settings, "model-events"), what="the events")
    assert await tell_again(telling, "model-events") == 20
    both = await until(lambda: _if(40, settings, "model-events"), what="the events once more")
    assert both[20:] == first
    await remake_topics(settings, ["model-events"])
    assert await tell_again(telling, "model-events") == 20
    again = await until(lambda: _if(20, settings, "model-events"), 30, what="the events in the new topic")
    assert again == first
    assert [event.revision for event in again] == list(range(1, 21))


async def _if(count: int, settings: ProbeSettings, topic: str) -> list[Envelope]:
    """The events, once there are so many; until then none."""
    found = await events(settings, topic)
    return found if len(found) >= count else []


async def test_an_old_revision_turns_no_reader_of_a_compacted_topic_back(
    settings: ProbeSettings, telling: Service, producer: Producer
) -> None:
    await tell(telling, *map(wanted, range(1, 6)))
    await until(lambda: _if(5, settings, "deployments"), what="the deployments")
    heard: list[int] = []
    reader = TableReader(settings, "deployments", lambda _, message, __: heard.append(message.revision))  # type: ignore[union-attr]
    await reader.start()
    await until(lambda: heard[-1:] == [5], what="the newest deployment")

    assert await tell_again(telling, "deployments", "access") == 1, "of a compacted topic only the newest"
    found = await until(lambda: _if(6, settings, "deployments"), what="the newest once more")
    assert [event.revision for event in found] == [1, 2, 3, 4, 5, 5]
    old = [record async for record in read_to_end(settings, "deployments")][1]
    await producer.send("deployments", old.value, key=old.key, headers=list(old.headers))
    await tell(telling, wanted(6))
    await until(lambda: heard[-1:] == [6], what="the next deployment")
    assert heard == [1, 2, 3, 4, 5, 6], "neither the repeat nor the old one was heard"
    await reader.stop()

    await remake_topics(settings, ["deployments"])
    assert await tell_again(telling, "deployments") == 1
    fresh: list[int] = []
    starting = TableReader(settings, "deployments", lambda _, message, __: fresh.append(message.revision))  # type: ignore[union-attr]
    await starting.start()
    await until(lambda: fresh == [6], 30, what="the state, by a reader that has just started")
    await starting.stop()


async def test_who_has_handled_an_event_does_nothing_when_it_is_told_again(
    settings: ProbeSettings, telling: Service
) -> None:
    sent = LabelsObserved(model_id="m", labels=(Label(prediction_id="one", label="a"),))
    await telling.work.run(lambda uow: uow.publish(sent, revision=uow.next_revision("labels", "m")))
    await until(lambda: seen_all(telling, "one"), what="the effect")
    assert await tell_again(telling, "labels") == 1
    await until(lambda: _if(2, settings, "labels"), what="the event once more")
    last = LabelsObserved(model_id="m", labels=(Label(prediction_id="two", label="a"),))
    await telling.work.run(lambda uow: uow.publish(last, revision=uow.next_revision("labels", "m")))
    await until(lambda: seen_all(telling, "one", "two"), what="the next effect, and no other")
    unsent = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.published_at.is_(None))
    await until(lambda: _none(telling, unsent), what="the marks")


async def _none(service: Service, query: sa.Select[Any]) -> bool:
    return not await service.db.read(lambda connection: connection.execute(query).scalar())
