"""`POST /mlops/events/replay`: what the registry said, once more."""

from typing import Any

import sqlalchemy as sa

from schemas.events import ModelPromoted, ModelRegistered
from services.kernel.tables import outbox
from services.registry import audit
from services.registry.tables import audit as audit_rows
from tests.contract.registry.conftest import Registry

MODEL = "threat-classifier"


async def published(registry: Registry) -> None:
    """What the relay does."""
    await registry.service.db.write(lambda c: c.execute(outbox.update().values(published_at=outbox.c.at)))


async def waiting(registry: Registry) -> list[tuple[str, str]]:
    """(topic, key) of what the relay will send, in its order."""
    query = sa.select(outbox.c.topic, outbox.c.key).where(outbox.c.published_at.is_(None)).order_by(outbox.c.seq)
    rows = await registry.service.db.read(lambda c: c.execute(query).all())
    return [(row.topic, row.key) for row in rows]


async def replay(registry: Registry, **wanted: Any) -> Any:
    answer = await registry.client.post("/mlops/events/replay", json=wanted)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def test_every_event_is_told_again_and_of_the_compacted_topics_the_newest(registry: Registry) -> None:
    first = await registry.version(1, "staging", "production")
    second = await registry.version(2, "staging")
    await registry.version(3, model_id="other")
    await registry.deploy(version=first)
    await registry.deploy(version=second)
    await registry.client.post("/mlops/keys", json={"name": "ci", "scopes": ["read"]})
    await published(registry)
    before = await registry.events()

    told = await replay(registry, dryRun=True)
    counts = {one["type"]: one["events"] for one in told["replayed"]}
    assert counts == {
        "trimtab.model.registered.v1": 3,
        "trimtab.model.promoted.v1": 3,
        "trimtab.deployment.wanted.v1": 1,
        "trimtab.access.granted.v1": 1,
    }
    assert (told["dry_run"], told["events"]) == (True, 8)
    assert all(one["first_at"] <= one["last_at"] for one in told["replayed"])
    assert await waiting(registry) == [], "a dry run marks nothing"

    assert await replay(registry) == {**told, "dry_run": False}
    topics = [topic for topic, _ in await waiting(registry)]
    assert topics == ["model-events"] * 6 + ["deployments", "access"]
    assert await registry.events() == before, "the same events, no new ones"

    def trail(connection: sa.Connection) -> Any:
        return connection.execute(sa.select(audit_rows).order_by(audit_rows.c.seq.desc()).limit(1)).one()

    entry = await registry.service.db.read(trail)
    assert (entry.action, '"events": 8' in entry.facts) == ("events.replayed", True)
    assert await registry.service.db.read(audit.broken_at) is None


async def test_a_replay_of_one_topic_one_model_and_a_time(registry: Registry) -> None:
    await registry.version(1, "staging")
    await registry.version(2, model_id="other")
    await published(registry)
    assert (await replay(registry, topic="model-events", modelId="other", dryRun=True))["events"] == 1
    assert (await replay(registry, modelId=MODEL, dryRun=True))["events"] == 2
    assert (await replay(registry, since="2100-01-01T00:00:00Z"))["events"] == 0
    promoted = (await registry.events(ModelPromoted))[0]
    assert promoted.model_id == MODEL
    newest = (await replay(registry, dryRun=True))["replayed"][-1]["last_at"]
    assert (await replay(registry, since=newest))["events"] == 1
    assert [key for _, key in await waiting(registry)] == ["other"]
    assert len(await registry.events(ModelRegistered)) == 2


async def test_what_can_not_be_replayed_is_a_sentence(registry: Registry) -> None:
    for wanted, word in (
        ({"topic": "predictions"}, "model-events"),
        ({"topic": "access", "modelId": MODEL}, "for one model"),
        ({"since": "yesterday"}, "since"),
        ({"form": 1}, "form"),
    ):
        answer = await registry.client.post("/mlops/events/replay", json=wanted)
        assert answer.status_code == 422, answer.text
        assert word in answer.text
