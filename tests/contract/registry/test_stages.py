"""Stages and their history, lists and pages."""

import asyncio
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from schemas.events import ModelArchived, ModelPromoted, Stage
from services.registry import audit, stages, tables
from services.registry.tables import stage_moves, versions
from tests.contract.registry.conftest import Registry
from tests.graphs import classifier


async def test_the_way_to_production(registry: Registry) -> None:
    version = await registry.version(0)
    staging = await registry.promote(version, "staging")
    production = await registry.promote(version, "production")
    assert staging.json() == {
        "model_id": "threat-classifier",
        "version": version,
        "from_stage": "draft",
        "stage": "staging",
        "replaced_version": None,
        "deployment_revision": None,
        "unmet": [],
        "deployed_versions": [],
    }
    assert (production.json()["from_stage"], production.json()["stage"]) == ("staging", "production")
    events = await registry.events(ModelPromoted)
    assert [(event.from_stage, event.to_stage, event.actor) for event in events] == [
        (Stage.DRAFT, Stage.STAGING, "anyone"),
        (Stage.STAGING, Stage.PRODUCTION, "anyone"),
    ]


async def test_promotion_replaces_what_was_in_production(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    second = await registry.version(1, "staging")
    answer = await registry.promote(second, "production")
    assert answer.json()["replaced_version"] == first
    body = (await registry.client.get(f"/mlops/models/threat-classifier/{first}")).json()
    assert body["stage"] == "archived"
    assert (await registry.events(ModelPromoted))[-1].replaced_version == first
    model = (await registry.client.get("/mlops/models/threat-classifier")).json()
    assert model["production_version"] == second
    back = await registry.promote(first, "production")
    assert (back.status_code, back.json()["from_stage"], back.json()["replaced_version"]) == (200, "archived", second)


async def test_a_rollback_says_what_it_goes_past(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    await registry.version(1, "staging", "production")
    path = f"/mlops/models/threat-classifier/{first}"
    said = {"stage": "production", "decision": "reject", "comment": "it was wrong"}
    assert (await registry.client.post(f"{path}/approvals", json=said)).status_code == 201
    back = await registry.promote(first, "production")
    (past,) = back.json()["unmet"]
    assert "rejected by anyone (it was wrong)" in past
    newest = (await registry.client.get(f"{path}/history")).json()["history"][0]
    assert newest["comment"] == f"to production; past {past}"


async def test_a_promotion_says_which_other_version_has_the_traffic(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    assert (await registry.deploy()).status_code < 300
    second = await registry.version(1, "staging")
    assert (await registry.promote(second, "production")).json()["deployed_versions"] == [first]
    assert (await registry.promote(first, "production")).json()["deployed_versions"] == []


@pytest.mark.parametrize(
    ("before", "target", "says"),
    [
        ((), "production", "staging first"),
        ((), "draft", "already"),
        (("staging",), "draft", "nothing returns to draft"),
        (("staging",), "staging", "already"),
        (("staging", "production"), "staging", "archive it"),
        (("archived",), "production", "never in production"),
    ],
)
async def test_illegal_moves(registry: Registry, before: tuple[str, ...], target: str, says: str) -> None:
    version = await registry.version(0, *before)
    answer = await registry.promote(version, target)
    assert answer.status_code == 409
    assert says in answer.json()["detail"]
    assert answer.json()["code"] == "conflict"


async def test_unknown_things(registry: Registry) -> None:
    version = await registry.version(0)
    for path, status in (
        ("/mlops/models/nobody", 404),
        (f"/mlops/models/nobody/{version}", 404),
        ("/mlops/models/threat-classifier/9.9.9", 404),
        ("/mlops/models/nobody/history", 404),
        ("/mlops/models/threat-classifier/latest", 422),
        ("/mlops/models/threat-classifier/1.0", 422),
        ("/mlops/models/%2e%2e%2fx/1.0.0", 404),
        ("/mlops/models/a b", 422),
        ("/mlops/models/" + "x" * 200, 422),
        ("/mlops/models?stage=nonsense", 422),
        ("/mlops/models?limit=0", 422),
        ("/mlops/models?cursor=nonsense", 422),
        ("/mlops/models/threat-classifier?cursor=WyJ4Il0", 422),
    ):
        answer = await registry.client.get(path)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
    assert (await registry.promote("9.9.9", "staging")).status_code == 404
    assert (await registry.promote(version, "nonsense")).status_code == 422


async def test_archive(registry: Registry) -> None:
    version = await registry.version(0)
    answer = await registry.client.post(
        f"/mlops/models/threat-classifier/{version}/archive", json={"comment": "worse than random"}
    )
    assert (answer.status_code, answer.json()["stage"]) == (200, "archived")
    [event] = await registry.events(ModelArchived)
    assert (event.from_stage, event.comment) == (Stage.DRAFT, "worse than random")
    again = await registry.client.post(f"/mlops/models/threat-classifier/{version}/archive")
    assert again.status_code == 409


async def test_promotion_once_by_key(registry: Registry) -> None:
    version = await registry.version(0)
    path, headers = f"/mlops/models/threat-classifier/{version}/promote", {"Idempotency-Key": "p1"}
    first = await registry.client.post(path, json={"stage": "staging"}, headers=headers)
    again = await registry.client.post(path, json={"stage": "staging"}, headers=headers)
    other = await registry.client.post(path, json={"stage": "archived"}, headers=headers)
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 409)
    assert first.json() == again.json()
    assert len(await registry.events(ModelPromoted)) == 1


async def test_history_and_what_was_in_production_when(registry: Registry) -> None:
    start = datetime.now(UTC)
    first = await registry.version(0, "staging", "production")
    between = datetime.now(UTC)
    second = await registry.version(1, "staging", "production")
    after = datetime.now(UTC)
    base = "/mlops/models/threat-classifier/history"
    moves = (await registry.client.get(base)).json()["history"]
    assert [(move["version"], move["from_stage"], move["to_stage"]) for move in reversed(moves)] == [
        (first, None, "draft"),
        (first, "draft", "staging"),
        (first, "staging", "production"),
        (second, None, "draft"),
        (second, "draft", "staging"),
        (first, "production", "archived"),
        (second, "staging", "production"),
    ]
    assert moves[0]["replaced_version"] == first
    assert moves[0]["comment"] == "to production"
    for at, version in ((start, None), (between, first), (after, second)):
        answer = (await registry.client.get(base, params={"at": at.isoformat()})).json()
        assert answer["production_version"] == version
    mine = (await registry.client.get(f"/mlops/models/threat-classifier/{first}/history")).json()["history"]
    assert [move["to_stage"] for move in mine] == ["archived", "production", "staging", "draft"]
    seen, cursor = [], None
    while True:
        page = (await registry.client.get(base, params={"limit": 3} | ({"cursor": cursor} if cursor else {}))).json()
        seen += page["history"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == moves


async def test_nothing_in_production_after_its_archiving(registry: Registry) -> None:
    version = await registry.version(0, "staging", "production", "archived")
    at = {"at": datetime.now(UTC).isoformat()}
    answer = (await registry.client.get("/mlops/models/threat-classifier/history", params=at)).json()
    assert (answer["production_version"], answer["move"]) == (None, None)
    assert version


async def test_promotions_at_once_leave_one_in_production(registry: Registry) -> None:
    found = [await registry.version(seed, "staging") for seed in range(6)]
    answers = await asyncio.gather(*(registry.promote(version, "production") for version in found))
    assert {answer.status_code for answer in answers} == {200}
    stages_now = await registry.service.db.read(
        lambda connection: list(connection.execute(sa.select(versions.c.stage)).scalars())
    )
    assert sorted(stages_now) == ["archived"] * 5 + ["production"]


async def test_lists(registry: Registry) -> None:
    for number in range(5):
        await registry.version(number, model_id=f"model-{number}")
    await registry.version(9, "staging", "production", model_id="model-3")
    answer = (await registry.client.get("/mlops/models")).json()
    assert [model["model_id"] for model in answer["models"]] == [f"model-{number}" for number in range(5)]
    assert answer["next_cursor"] is None
    third = answer["models"][3]
    assert (third["versions"], third["latest"]["stage"]) == (2, "production")
    assert third["production"]["version"] == third["latest"]["version"]
    assert answer["models"][0]["production"] is None
    in_production = (await registry.client.get("/mlops/models?stage=production")).json()
    assert [model["model_id"] for model in in_production["models"]] == ["model-3"]
    by_name = (await registry.client.get("/mlops/models", params={"name": "EL-2"})).json()
    assert [model["model_id"] for model in by_name["models"]] == ["model-2"]
    assert (await registry.client.get("/mlops/models", params={"name": "%"})).json()["models"] == []
    seen, cursor = [], None
    while True:
        page = (
            await registry.client.get("/mlops/models", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [model["model_id"] for model in page["models"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"model-{number}" for number in range(5)]


async def test_versions_are_paged_newest_first(registry: Registry) -> None:
    found = [await registry.version(seed) for seed in range(5)]
    first = (await registry.client.get("/mlops/models/threat-classifier?limit=3")).json()
    rest = (
        await registry.client.get(
            "/mlops/models/threat-classifier", params={"limit": 3, "cursor": first["next_cursor"]}
        )
    ).json()
    assert [v["version"] for v in first["versions"] + rest["versions"]] == found[::-1]
    assert rest["next_cursor"] is None


async def test_the_audit_trail_shows_tampering(registry: Registry) -> None:
    await registry.version(0, "staging", "production")
    assert await registry.service.db.read(audit.broken_at) is None
    await registry.service.db.write(
        lambda connection: connection.execute(
            tables.audit.update().where(tables.audit.c.seq == 2).values(actor="nobody at all")
        )
    )
    assert await registry.service.db.read(audit.broken_at) == 2


async def test_moves_are_ordered_by_number_not_by_the_clock(registry: Registry) -> None:
    """A clock that jumps back does not change what was in production last."""
    version = await registry.version(0, "staging", "production")
    await registry.service.db.write(
        lambda connection: connection.execute(
            stage_moves.update().where(stage_moves.c.to_stage == "production").values(at=1.0)
        )
    )
    move = await registry.service.db.read(
        lambda connection: stages.in_production_at(connection, "threat-classifier", datetime.now(UTC))
    )
    assert move is not None
    assert move.version == version


async def test_other_models_are_not_touched(registry: Registry) -> None:
    await registry.version(0, "staging", "production", model_id="a")
    other = await registry.register("b", classifier(1))
    assert other.json()["parent_version"] is None
    assert other.json()["version"].startswith("1.0.")
