"""Deployments: wanted states, revisions, canaries, rollbacks; what the replicas say."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import DeploymentWanted, LoadedVersion, ReplicaStatus
from services.registry.settings import RegistrySettings
from services.registry.tables import models
from tests.contract.registry.conftest import Registry, running
from tests.graphs import classifier
from tests.waiting import until

URL = "/mlops/deployments/threat-classifier"


def shares(document: dict[str, Any]) -> list[tuple[str, str, float]]:
    return [(route["name"], route["version"], route["weight"]) for route in document["routes"]]


async def test_without_a_version_production_is_deployed(registry: Registry) -> None:
    version = await registry.version(0, "staging", "production")
    answer = await registry.deploy()
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert shares(body) == [("stable", version, 100.0)]
    assert (body["revision"], body["converged"], body["replicas"]) == (1, False, [])
    read = await registry.client.get(URL)
    assert read.json() == body
    assert read.headers["etag"] == '"1"'
    [event] = await registry.events(DeploymentWanted)
    known = (await registry.client.get(f"/mlops/models/threat-classifier/{version}")).json()
    assert (event.routes[0].artifact, event.routes[0].manifest_digest) == (known["artifact"], known["manifest_digest"])


async def test_what_may_not_be_deployed(registry: Registry) -> None:
    draft = await registry.version(0)
    archived = await registry.version(1, "archived")
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"version": draft}, 409, "is a draft: promote it"),
        ({"version": archived}, 409, "is archived"),
        ({}, 409, "no version in production"),
        ({"version": "9.9.9"}, 404, "no version 9.9.9"),
        ({"modelId": "nobody"}, 404, "no model"),
        ({"version": "../x"}, 422, "version"),
        ({"versio": draft}, 422, "versio"),
    ]
    for document, status, says in cases:
        answer = await registry.deploy(**document)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["detail"]
    assert (await registry.client.get(URL)).status_code == 404
    assert (await registry.client.get("/mlops/deployments")).json() == {"deployments": [], "next_cursor": None}


async def test_a_canary_beside_what_serves(registry: Registry) -> None:
    stable = await registry.version(0, "staging", "production")
    canary = await registry.version(1, "staging")
    nothing_yet = await registry.deploy(version=canary, canary=10)
    assert nothing_yet.status_code == 409
    await registry.deploy(shadow=canary)
    both = await registry.deploy(version=canary, canary=10, shadow=canary)
    assert (both.status_code, "cannot be the shadow" in both.json()["detail"]) == (422, True)
    ten = await registry.deploy(version=canary, canary=10)
    assert shares(ten.json()) == [("stable", stable, 90.0), ("canary", canary, 10.0)]
    assert ten.json()["shadow"] is None  # what was watched gets traffic now
    fifty = await registry.deploy(version=canary, canaryPercent=50)
    assert shares(fifty.json()) == [("stable", stable, 50.0), ("canary", canary, 50.0)]
    for percent in (0, 100, -5, 1000):
        assert (await registry.deploy(version=canary, canary=percent)).status_code == 422
    full = await registry.deploy(version=canary)
    assert shares(full.json()) == [("stable", canary, 100.0)]


async def test_promoting_the_canary_ends_it(registry: Registry) -> None:
    await registry.version(0, "staging", "production")
    canary = await registry.version(1, "staging")
    await registry.deploy()
    await registry.deploy(version=canary, canary=10)
    answer = await registry.promote(canary, "production")
    assert answer.json()["deployment_revision"] is not None
    body = (await registry.client.get(URL)).json()
    assert shares(body) == [("stable", canary, 100.0)]
    assert body["revision"] == answer.json()["deployment_revision"]


async def test_promoting_what_is_not_deployed_changes_no_traffic(registry: Registry) -> None:
    stable = await registry.version(0, "staging", "production")
    await registry.deploy()
    other = await registry.version(1, "staging", "production")
    body = (await registry.client.get(URL)).json()
    assert shares(body) == [("stable", stable, 100.0)]
    assert body["revision"] == 1
    assert other != stable


async def test_rollback(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    second = await registry.version(1, "staging")
    await registry.deploy()
    await registry.deploy(version=second, canary=10)
    await registry.deploy(version=second, canary=60)
    await registry.deploy(version=second)
    await registry.promote(second, "production")
    back = await registry.client.post(URL + "/rollback", json={"reason": "errors"})
    assert back.status_code == 202, back.text
    assert shares(back.json()) == [("stable", first, 100.0)]  # it is archived now, and serves again all the same
    assert (back.json()["revision"], back.json()["reason"]) == (5, "errors")
    again = await registry.client.post(URL + "/rollback")
    assert again.status_code == 409
    revisions = (await registry.client.get(URL + "/history")).json()
    assert [item["revision"] for item in revisions] == [5, 4, 3, 2, 1]


async def test_a_deployed_version_is_not_archived(registry: Registry) -> None:
    version = await registry.version(0, "staging", "production")
    await registry.deploy()
    answer = await registry.client.post(f"/mlops/models/threat-classifier/{version}/archive")
    assert answer.status_code == 409
    assert "is deployed" in answer.json()["detail"]
    nothing = await registry.client.post("/mlops/deployments", json={"model_id": "threat-classifier", "routes": []})
    assert nothing.status_code == 202
    assert (await registry.client.post(f"/mlops/models/threat-classifier/{version}/archive")).status_code == 200


async def test_weights(registry: Registry) -> None:
    one = await registry.version(0, "staging", "production")
    two = await registry.version(1, "staging")
    answer = await registry.deploy(weights={one: 70, two: 30})
    assert shares(answer.json()) == [(one, one, 70.0), (two, two, 30.0)]
    assert (await registry.deploy(weights={one: 70, two: 40})).status_code == 422
    assert (await registry.deploy(weights={one: 100}, version=one)).status_code == 422


async def test_a_full_wanted_state_with_a_revision(registry: Registry) -> None:
    one = await registry.version(0, "staging", "production")
    two = await registry.version(1, "staging")
    await registry.deploy()
    wanted = {
        "modelId": "threat-classifier",
        "routes": [{"name": "a", "version": one, "weight": 50}, {"name": "b", "version": two, "weight": 50}],
        "fallback": one,
        "stickyKey": "protocol",
    }
    stale = await registry.client.post("/mlops/deployments", json=wanted, headers={"If-Match": '"7"'})
    assert (stale.status_code, stale.json()["revision"]) == (412, 1)
    nonsense = await registry.client.post("/mlops/deployments", json=wanted, headers={"If-Match": "x"})
    assert nonsense.status_code == 422
    answer = await registry.client.post("/mlops/deployments", json=wanted, headers={"If-Match": '"1"'})
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert shares(body) == [("a", one, 50.0), ("b", two, 50.0)]
    assert (body["fallback"]["version"], body["sticky_key"], body["revision"]) == (one, "protocol", 2)
    same = await registry.client.post("/mlops/deployments", json=wanted)
    assert same.json()["revision"] == body["revision"]


async def test_only_one_of_many_writers_of_a_revision_wins(registry: Registry) -> None:
    one = await registry.version(0, "staging", "production")
    two = await registry.version(1, "staging")
    first = (await registry.deploy()).json()["revision"]
    answers = await asyncio.gather(
        *(
            registry.client.post(
                "/mlops/deployments",
                json={
                    "model_id": "threat-classifier",
                    "routes": [
                        {"name": "a", "version": one, "weight": 100 - share},
                        {"name": "b", "version": two, "weight": share},
                    ],
                },
                headers={"If-Match": f'"{first}"'},
            )
            for share in range(1, 11)
        )
    )
    assert sorted(answer.status_code for answer in answers) == [202] + [412] * 9


async def test_versions_with_other_inputs_do_not_share_a_deployment(registry: Registry) -> None:
    await registry.version(0, "staging", "production")
    await registry.deploy()
    other = (await registry.register(graph=classifier(1, extra="length"))).json()["version"]
    await registry.promote(other, "staging")
    answer = await registry.deploy(version=other, canary=10)
    assert answer.status_code == 409
    assert "differ in the inputs length" in answer.json()["detail"]
    assert (await registry.deploy(version=other)).status_code == 202


async def test_deploy_once_by_key(registry: Registry) -> None:
    await registry.version(0, "staging", "production")
    other = await registry.version(1, "staging")
    key = {"Idempotency-Key": "d1"}
    first = await registry.deploy(headers=key)
    await registry.deploy(version=other)
    again = await registry.deploy(headers=key)
    assert (again.status_code, again.json()) == (202, first.json())
    assert (await registry.client.get(URL)).json()["routes"][0]["version"] == other
    assert (await registry.deploy(headers=key, version=other)).status_code == 409


async def test_the_same_deployment_again_changes_nothing(registry: Registry) -> None:
    await registry.version(0, "staging", "production")
    first, again = await registry.deploy(), await registry.deploy()
    assert first.json() == again.json()
    assert len(await registry.events(DeploymentWanted)) == 1


async def test_deployments_are_paged(registry: Registry) -> None:
    for number in range(3):
        await registry.version(number, "staging", "production", model_id=f"m{number}")
        assert (await registry.deploy(modelId=f"m{number}")).status_code == 202
    first = (await registry.client.get("/mlops/deployments?limit=2")).json()
    rest = (await registry.client.get("/mlops/deployments", params={"cursor": first["next_cursor"]})).json()
    assert [d["model_id"] for d in first["deployments"] + rest["deployments"]] == ["m0", "m1", "m2"]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("converged", "state", "age_seconds", "expected"),
    [
        ({"threat-classifier": 1}, "ready", 0, "converged"),
        ({"threat-classifier": 0}, "loading", 0, "behind"),
        ({}, "failed", 0, "failed"),
        ({"threat-classifier": 1}, "ready", 3600, "silent"),
    ],
)
async def test_what_replicas_say(
    registry: Registry, converged: dict[str, int], state: Any, age_seconds: int, expected: str
) -> None:
    version = await registry.version(0, "staging", "production")
    await registry.deploy()
    at = datetime.now(UTC) - timedelta(seconds=age_seconds)
    loaded = LoadedVersion(model_id="threat-classifier", version=version, state=state, since=at, requests=7)
    elsewhere = LoadedVersion(model_id="other", version="1.0.0", state="ready", since=at)
    status = ReplicaStatus(
        replica="r1",
        incarnation="i",
        url="http://127.0.0.1:3006",
        at=at,
        converged=converged,
        versions=(loaded, elsewhere),
    )
    replicas = registry.service.state["parts"].replicas
    replicas.on_message("r1", status, None)
    body = (await registry.client.get(URL)).json()
    [replica] = body["replicas"]
    assert replica["state"] == expected
    assert [item["requests"] for item in replica["versions"]] == [7]
    assert body["converged"] == (expected == "converged")
    replicas.on_message("r1", status.model_copy(update={"stopped": True}), None)
    assert (await registry.client.get(URL)).json()["replicas"] == []


async def test_what_is_archived_is_not_deployed_at_the_same_moment(registry_settings: RegistrySettings) -> None:
    """Two registries: one deploys a version while the other archives it. One of them is refused."""
    async for one in running(registry_settings):
        async for two in running(registry_settings):
            found = [(f"m{seed}", await one.version(seed, "staging", model_id=f"m{seed}")) for seed in range(8)]
            answers = await asyncio.gather(
                *(
                    answer
                    for model_id, version in found
                    for answer in (
                        one.deploy(modelId=model_id, version=version),
                        two.client.post(f"/mlops/models/{model_id}/{version}/archive"),
                    )
                )
            )
            codes = [answer.status_code for answer in answers]
            assert set(zip(codes[::2], codes[1::2], strict=True)) <= {(202, 409), (409, 200)}


async def test_a_promotion_beside_a_rollback_in_another_process(postgres_url: str, tmp_path: Path) -> None:
    """Both lock the model first, so neither holds what the other waits for."""
    tmp_path.joinpath("data").mkdir()
    settings = RegistrySettings(data_dir=tmp_path / "data", database_url=postgres_url)
    async for one in running(settings):
        async for other in running(settings):
            await promoted_beside_a_rollback(one, other, postgres_url)


async def promoted_beside_a_rollback(one: Registry, other: Registry, postgres_url: str) -> None:
    await one.version(0, "staging", "production")
    canary = await one.version(1, "staging")
    await one.deploy()
    await one.deploy(version=canary, canary=10)
    engine = sa.create_engine(postgres_url, connect_args={"options": f"-csearch_path={one.service.db.schema}"})

    async def waiting(count: int) -> bool:
        def read(connection: sa.Connection) -> int:
            query = sa.text("SELECT count(DISTINCT pid) FROM pg_locks WHERE NOT granted")
            return int(connection.execute(query).scalar_one())

        return await one.service.db.read(read) == count

    with engine.connect() as connection, connection.begin() as held:
        connection.execute(sa.select(models).with_for_update())  # what a new deployment refers to
        rollback = asyncio.create_task(other.client.post(f"{URL}/rollback", json={}))
        await until(lambda: waiting(1), 30, "the rollback to stand before its last step")
        promotion = asyncio.create_task(one.promote(canary, "production"))
        await until(lambda: waiting(2), 30, "the promotion to wait for the rollback")
        held.commit()
    engine.dispose()
    answers = await asyncio.gather(rollback, promotion)
    assert [answer.status_code for answer in answers] == [202, 200], [answer.text for answer in answers]
