"""Aliases: names for versions, their history, and versions named by them."""

from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import ModelAliased, ModelArchived
from services.registry.tables import audit
from tests.contract.registry.conftest import Registry

MODEL = "/mlops/models/threat-classifier"


async def point(registry: Registry, alias: str, version: str, **rest: Any) -> Any:
    return await registry.client.put(f"{MODEL}/aliases/{alias}", json={"version": version, **rest})


async def test_an_alias_names_one_version_and_a_version_has_many(registry: Registry) -> None:
    first, second = await registry.version(0), await registry.version(1)
    answer = await point(registry, "champion", first, comment="best so far")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["alias"], answer.json()["version"], answer.json()["actor"]) == ("champion", first, "anyone")
    await point(registry, "stable", first)
    await point(registry, "challenger", second)
    assert (await registry.client.get(f"{MODEL}/{first}")).json()["aliases"] == ["champion", "stable"]
    await point(registry, "champion", second)
    listed = (await registry.client.get(f"{MODEL}/aliases")).json()["aliases"]
    names = {"challenger": second, "champion": second, "stable": first}
    assert {item["alias"]: item["version"] for item in listed} == names
    model = (await registry.client.get(MODEL)).json()
    assert model["aliases"] == names
    assert [version["aliases"] for version in model["versions"]] == [["challenger", "champion"], ["stable"]]
    assert (await registry.client.get("/mlops/models")).json()["models"][0]["aliases"] == names
    events = await registry.events(ModelAliased)
    assert [(event.alias, event.version, event.previous_version) for event in events] == [
        ("champion", first, None),
        ("stable", first, None),
        ("challenger", second, None),
        ("champion", second, first),
    ]
    assert events[0].comment == "best so far"


async def test_setting_it_again_changes_nothing(registry: Registry) -> None:
    version = await registry.version(0)
    first, again = await point(registry, "champion", version), await point(registry, "champion", version)
    assert first.json() == again.json()
    assert len(await registry.events(ModelAliased)) == 1


async def test_who_was_champion_when(registry: Registry) -> None:
    first, second = await registry.version(0), await registry.version(1)
    start = datetime.now(UTC)
    await point(registry, "champion", first)
    between = datetime.now(UTC)
    await point(registry, "champion", second, comment="better")
    after = datetime.now(UTC)
    gone = await registry.client.delete(f"{MODEL}/aliases/champion", params={"comment": "both are bad"})
    assert gone.status_code == 204
    end = datetime.now(UTC)
    history = f"{MODEL}/aliases/champion/history"
    for at, version in ((start, None), (between, first), (after, second), (end, None)):
        answer = (await registry.client.get(history, params={"at": at.isoformat()})).json()
        assert answer["version"] == version
        assert (answer["move"] is None) is (version is None)
    page = (await registry.client.get(history, params={"limit": 2})).json()
    assert [(move["version"], move["previous_version"], move["comment"]) for move in page["history"]] == [
        (None, second, "both are bad"),
        (second, first, "better"),
    ]
    rest = (await registry.client.get(history, params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [move["version"] for move in rest["history"]] == [first]
    assert rest["next_cursor"] is None


@pytest.mark.parametrize(
    ("alias", "status", "says"),
    [
        ("1.0.0", 422, "a version's number"),
        ("production", 422, "is a stage"),
        ("Archived", 422, "is a stage"),
        ("a b", 422, "alias"),
        ("-x", 422, "alias"),
        ("x" * 129, 422, "alias"),
        ("v1.0", 200, ""),
    ],
)
async def test_the_grammar_of_aliases(registry: Registry, alias: str, status: int, says: str) -> None:
    answer = await point(registry, alias, await registry.version(0))
    assert answer.status_code == status, answer.text
    assert says in answer.text


async def test_unknown_things(registry: Registry) -> None:
    version = await registry.version(0)
    for method, path, body, status in (
        ("PUT", f"{MODEL}/aliases/champion", {"version": "9.9.9"}, 404),
        ("PUT", f"{MODEL}/aliases/champion", {"version": "@nobody"}, 404),
        ("PUT", f"{MODEL}/aliases/champion", {"version": "latest"}, 422),
        ("PUT", f"{MODEL}/aliases/champion", {"versio": version}, 422),
        ("PUT", "/mlops/models/nobody/aliases/champion", {"version": version}, 404),
        ("DELETE", f"{MODEL}/aliases/champion", None, 404),
        ("GET", "/mlops/models/nobody/aliases", None, 404),
        ("GET", f"{MODEL}/@champion", None, 404),
        ("GET", f"{MODEL}/@", None, 422),
    ):
        answer = await registry.client.request(method, path, json=body)
        assert answer.status_code == status, (method, path, answer.text)
    assert await registry.events(ModelAliased) == []


async def test_a_version_may_be_named_by_its_alias(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    second = await registry.version(1)
    await point(registry, "champion", first)
    await point(registry, "challenger", second)
    assert (await registry.client.get(f"{MODEL}/@champion")).json()["version"] == first
    by_alias = await registry.client.get(f"{MODEL}/@champion/manifest")
    assert by_alias.content == (await registry.client.get(f"{MODEL}/{first}/manifest")).content
    moves = (await registry.client.get(f"{MODEL}/@challenger/history")).json()["history"]
    assert [move["version"] for move in moves] == [second]
    moved = await registry.promote("@challenger", "staging")
    assert (moved.status_code, moved.json()["version"]) == (200, second)
    deployed = await registry.deploy(alias="champion")
    assert [(route["name"], route["version"]) for route in deployed.json()["routes"]] == [("stable", first)]
    canary = await registry.deploy(version="@challenger", canary=10, fallback="@champion")
    assert [route["version"] for route in canary.json()["routes"]] == [first, second]
    assert canary.json()["fallback"]["version"] == first
    shared = await registry.deploy(weights={"@champion": 60, second: 40})
    assert {route["version"]: route["weight"] for route in shared.json()["routes"]} == {first: 60, second: 40}
    assert (await registry.deploy(weights={"@champion": 60, first: 40})).status_code == 422
    assert (await registry.deploy(version=first, alias="champion")).status_code == 422
    other = await point(registry, "best", "@challenger")
    assert other.json()["version"] == second


async def test_archiving_what_an_alias_names_says_to_move_the_alias_first(registry: Registry) -> None:
    version = await registry.version(0, "staging")
    await registry.client.put("/mlops/models/threat-classifier/aliases/champion", json={"version": version})
    for named in (version, "@champion"):
        answer = await registry.client.post(f"/mlops/models/threat-classifier/{named}/archive", json={})
        assert answer.status_code == 409
        assert "champion" in answer.json()["detail"]


async def test_an_alias_never_names_an_archived_version(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    await point(registry, "champion", first)
    refused = await registry.client.post(f"{MODEL}/{first}/archive")
    assert refused.status_code == 409
    assert "is @champion" in refused.json()["detail"]
    second = await registry.version(1, "staging", "production")  # its promotion is not held up by the alias
    assert (await registry.client.get(f"{MODEL}/{first}")).json()["stage"] == "staging"
    move = (await registry.client.get(f"{MODEL}/{first}/history")).json()["history"][0]
    assert move["comment"] == f"replaced by {second}; kept in staging as @champion"
    await point(registry, "champion", second)
    assert (await registry.client.post(f"{MODEL}/{first}/archive")).status_code == 200
    assert len(await registry.events(ModelArchived)) == 1
    back = await point(registry, "old", first)
    assert back.status_code == 409
    assert "promote it to staging" in back.json()["detail"]


async def test_moves_of_aliases_are_audited(registry: Registry) -> None:
    version = await registry.version(0)
    await point(registry, "champion", version, comment="why not")
    rows = await registry.service.db.read(
        lambda connection: connection.execute(sa.select(audit).where(audit.c.action == "model.aliased")).all()
    )
    assert [(row.entity, row.actor) for row in rows] == [("threat-classifier@champion", "anyone")]
    assert "why not" in rows[0].facts
