"""The bytes of old archived versions are given up when the policy says so; the records never."""

import time
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import VersionBytesDropped, VersionBytesReturned
from services.registry import audit
from services.registry.keeping import retention
from services.registry.keeping.report import Report
from services.registry.tables import versions
from tests.contract.registry.conftest import Registry
from tests.contract.registry.leftovers import blob, collector, keys
from tests.graphs import classifier

MODEL = "threat-classifier"
DAY = 86_400.0


async def policy(registry: Registry, days: int | None, keep_newest: int = 0) -> None:
    document = {"retention": {"drop_archived_bytes_after_days": days, "keep_newest": keep_newest}}
    answer = await registry.client.put(f"/mlops/models/{MODEL}/policy", json=document)
    assert answer.status_code == 200, answer.text


async def archived(registry: Registry, seed: int, days: float = 10.0, **more: Any) -> str:
    """A version that was archived so long ago."""
    answer = await registry.register(graph=classifier(seed), **more)
    assert answer.status_code == 201, answer.text
    version = str(answer.json()["version"])
    await archive(registry, version, days)
    return version


async def archive(registry: Registry, version: str, days: float = 10.0) -> None:
    answer = await registry.client.post(f"/mlops/models/{MODEL}/{version}/archive")
    assert answer.status_code == 200, answer.text
    await age(registry, version, days)


async def age(registry: Registry, version: str, days: float) -> None:
    mine = versions.c.version == version
    statement = versions.update().where(mine).values(stage_since=time.time() - days * DAY)
    await registry.service.db.write(lambda connection: connection.execute(statement))


async def dropped(registry: Registry, *, dry_run: bool = False) -> list[str]:
    report: Report = await collector(registry).collect(dry_run=dry_run)
    return [each.version for each in report.dropped]


async def document(registry: Registry, version: str) -> dict[str, Any]:
    return dict((await registry.client.get(f"/mlops/models/{MODEL}/{version}")).json())


async def test_without_a_policy_nothing_is_given_up(registry: Registry) -> None:
    version = await archived(registry, 1, days=36_000)
    assert await dropped(registry) == []
    assert (await document(registry, version))["bytes_dropped_at"] is None


async def test_old_archived_bytes_are_given_up_and_the_record_stays(registry: Registry) -> None:
    await registry.version(7)
    before = keys(registry.store)
    version = await archived(registry, 1, files={"notes.md": b"only here"})
    await policy(registry, days=7)
    assert await dropped(registry, dry_run=True) == [version]
    assert blob(b"only here") in keys(registry.store)
    assert await dropped(registry) == [version]
    assert keys(registry.store) == before
    found = await document(registry, version)
    assert found["bytes_dropped_at"] is not None
    assert (found["stage"], len(found["files"])) == ("archived", 2)
    (event,) = await registry.events(VersionBytesDropped)
    assert (event.version, event.size_bytes) == (version, found["size_bytes"])
    assert "7 days" in event.reason
    assert await registry.service.db.read(audit.broken_at) is None
    assert await dropped(registry) == []


async def test_young_ones_and_the_newest_keep_theirs(registry: Registry) -> None:
    old = [await archived(registry, seed) for seed in (1, 2, 3)]
    await archived(registry, 4, days=1)
    await policy(registry, days=7, keep_newest=2)
    assert await dropped(registry) == [old[1], old[0]], "the two newest are the young one and the third"


async def test_what_is_not_archived_keeps_its_bytes(registry: Registry) -> None:
    for seed, stages in ((1, ()), (2, ("staging",)), (3, ("staging", "production"))):
        await age(registry, await registry.version(seed, *stages), days=100)
    await policy(registry, days=0)
    assert await dropped(registry) == []


async def test_the_deployment_and_its_rollback_target_keep_their_bytes(registry: Registry) -> None:
    forgotten, before, now = [await registry.version(seed, "staging") for seed in (1, 2, 3)]
    for version in (forgotten, before, now):
        assert (await registry.deploy(version=version)).status_code == 202
    for version in (forgotten, before):
        await archive(registry, version)
    await policy(registry, days=7)
    assert await dropped(registry) == [forgotten]
    answer = await registry.client.post(f"/mlops/deployments/{MODEL}/rollback", json={})
    assert answer.status_code == 202, answer.text
    assert answer.json()["routes"][0]["version"] == before
    refused = await registry.client.post(f"/mlops/deployments/{MODEL}/rollback", json={})
    assert refused.status_code == 409
    assert "gave up the files of version" in refused.json()["detail"]


async def test_an_alias_keeps_bytes(registry: Registry) -> None:
    version = await registry.version(1)
    answer = await registry.client.put(f"/mlops/models/{MODEL}/aliases/keep", json={"version": version})
    assert answer.status_code in (200, 201), answer.text
    statement = versions.update().values(stage="archived", stage_since=0.0)  # no route archives what an alias names
    await registry.service.db.write(lambda connection: connection.execute(statement))
    await policy(registry, days=0)
    assert await dropped(registry) == []


async def test_bytes_that_a_live_version_shares_stay(registry: Registry) -> None:
    version = await archived(registry, 1, files={"shared.md": b"of both", "own.md": b"of the old one"})
    live = await registry.register(graph=classifier(2), files={"shared.md": b"of both"})
    await policy(registry, days=7)
    assert await dropped(registry) == [version]
    found = keys(registry.store, "blobs")
    assert blob(b"of both") in found
    assert blob(b"of the old one") not in found
    verdict = await registry.client.post(f"/mlops/models/{MODEL}/{live.json()['version']}/verify")
    assert verdict.json()["state"] == "ok"


async def test_a_version_without_bytes_is_refused_with_what_to_do(registry: Registry) -> None:
    version = await archived(registry, 1)
    await policy(registry, days=7)
    await dropped(registry)
    for answer, says in (
        (await registry.promote(version, "staging"), "register it anew"),
        (
            await registry.client.put(f"/mlops/models/{MODEL}/aliases/champion", json={"version": version}),
            "",
        ),
        (await registry.client.post(f"/mlops/models/{MODEL}/{version}/signatures", json={}), "can't be signed"),
    ):
        assert answer.status_code == 409, answer.text
        assert says in answer.json()["detail"]
    again = await registry.register(graph=classifier(1), description="with its files again")
    assert again.status_code == 201
    verdict = await registry.client.post(f"/mlops/models/{MODEL}/{version}/verify")
    assert verdict.json()["state"] == "dropped"
    assert {file["state"] for file in verdict.json()["files"]} == {"dropped"}


async def test_whoever_sends_the_bytes_again_brings_the_version_back(registry: Registry) -> None:
    """By an upload of the same record, made at another time, or by its archive; nothing of the record changes."""
    version = await archived(registry, 1, files={"notes.md": b"only here"})
    path = f"/mlops/models/{MODEL}/{version}"
    before = await document(registry, version)
    archive_of = (await registry.client.get(f"{path}/export")).content
    await policy(registry, days=7)
    for way in ("upload", "import"):
        await age(registry, version, days=10)
        assert await dropped(registry) == [version]
        await collector(registry).collect()
        await collector(registry).collect()
        assert not keys(registry.store), "nothing of it is left"
        if way == "upload":
            answer = await registry.register(graph=classifier(1), files={"notes.md": b"only here"})
        else:
            tar = {"Content-Type": "application/x-tar"}
            answer = await registry.client.post("/mlops/models/import", content=archive_of, headers=tar)
        assert (answer.status_code, answer.json()["version"]) == (200, version), answer.text
        assert (await registry.client.post(f"{path}/verify")).json()["state"] == "ok"
        after = await document(registry, version)
        for told in ("stage", "manifest_digest", "content_digest", "files", "registered_at", "bytes_dropped_at"):
            assert after[told] == before[told], told
        assert await dropped(registry) == [], "its days in the archive begin anew"
        await collector(registry).collect()
        assert (await registry.client.post(f"{path}/verify")).json()["state"] == "ok"
    assert [event.version for event in await registry.events(VersionBytesReturned)] == [version] * 2
    assert await registry.service.db.read(audit.broken_at) is None


async def test_what_came_into_use_since_it_was_listed_is_not_given_up(registry: Registry) -> None:
    version = await archived(registry, 1)
    await policy(registry, days=7)
    assert (await registry.promote(version, "staging")).status_code == 200
    assert await registry.service.work.run(lambda uow: retention.drop(uow, MODEL, version)) is None
    assert (await document(registry, version))["bytes_dropped_at"] is None


async def test_many_models_are_looked_at_in_pages(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.registry.keeping.collector.BATCH", 2)
    for number in range(5):
        answer = await registry.register(f"model-{number}")
        path = f"/mlops/models/model-{number}"
        assert (await registry.client.post(f"{path}/{answer.json()['version']}/archive")).status_code == 200
    default = {"retention": {"drop_archived_bytes_after_days": 0, "keep_newest": 0}}
    assert (await registry.client.put("/mlops/policy", json=default)).status_code == 200
    report = await collector(registry).collect()
    assert [each.model_id for each in report.dropped] == [f"model-{number}" for number in range(5)]
    left = sa.select(sa.func.count()).select_from(versions).where(versions.c.bytes_dropped_at.is_(None))
    assert await registry.service.db.read(lambda c: c.execute(left).scalar()) == 0
