"""Approvals: who may say what, whose word counts, and that a promotion never gets past a rejection."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import Alert, ApiKeyGranted, ApprovalDecided, ModelRegistered
from services.registry.handlers import on_job_succeeded
from services.registry.registrar import Registrar
from services.registry.settings import RegistrySettings
from services.registry.tables import audit
from tests.contract.registry.conftest import Registry, running
from tests.contract.registry.test_registrar import left
from tests.waiting import until

MODEL = "/mlops/models/threat-classifier"
INTERNAL = {"Authorization": "Bearer internal-secret"}


class Office:
    """A registry that asks for keys, and the people who hold them."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.keys: dict[str, dict[str, str]] = {}

    async def hire(self, name: str, *scopes: str, prefixes: tuple[str, ...] = ()) -> None:
        """Give somebody a key."""
        wanted = {"name": name, "scopes": list(scopes), "modelPrefixes": list(prefixes)}
        answer = await self.registry.client.post("/mlops/keys", json=wanted, headers=INTERNAL)
        assert answer.status_code == 201, answer.text
        self.keys[name] = {"Authorization": f"Bearer {answer.json()['key']}"}
        for event in await self.registry.events(ApiKeyGranted):
            self.registry.service.access._apply(event.key_id, event, None)

    async def says(self, who: str, decision: str, version: str, stage: str = "production", comment: str = "") -> int:
        """The status of what somebody says."""
        body = {"stage": stage, "decision": decision, "comment": comment}
        answer = await self.registry.client.post(f"{MODEL}/{version}/approvals", json=body, headers=self.keys[who])
        return answer.status_code

    async def promote(self, who: str, version: str, stage: str) -> Any:
        """The answer to somebody's promotion."""
        body = {"stage": stage}
        return await self.registry.client.post(f"{MODEL}/{version}/promote", json=body, headers=self.keys[who])


@pytest.fixture
async def office(registry_settings: RegistrySettings) -> AsyncIterator[Office]:
    """People with keys: writers ada and grace, approvers bob and eve, an admin, and ada may approve too."""
    changes = {"auth": "keys", "internal_key": "internal-secret"}
    settings = RegistrySettings.model_validate(registry_settings.model_dump() | changes)
    async for registry in running(settings):
        made = Office(registry)
        await made.hire("ada", "write", "approve")
        await made.hire("grace", "write")
        await made.hire("bob", "approve")
        await made.hire("eve", "approve")
        await made.hire("root", "admin")
        yield made


async def uploaded(office: Office, who: str, seed: int = 0) -> str:
    """A version in staging that somebody registered."""
    office.registry.client.headers.update(office.keys[who])
    return await office.registry.version(seed, "staging")


async def rule(office: Office, **production: Any) -> None:
    answer = await office.registry.client.put(
        f"{MODEL}/policy", json={"production": production}, headers=office.keys["root"]
    )
    assert answer.status_code == 200, answer.text


async def test_four_eyes(office: Office) -> None:
    version = await uploaded(office, "ada")
    await rule(office, approvals=1, four_eyes=True)
    assert await office.says("ada", "approve", version) == 201
    refused = await office.promote("ada", version, "production")
    assert (refused.status_code, refused.json()["code"]) == (409, "gates-unmet")
    assert "of ada none counts" in refused.json()["unmet"][0], "she registered it"
    await office.hire("dan", "write", "approve")
    assert await office.says("dan", "ask", version) == 201
    assert await office.says("dan", "approve", version) == 201
    refused = await office.promote("ada", version, "production")
    assert "of ada, dan none counts" in refused.json()["unmet"][0], "he asked"
    assert await office.says("bob", "approve", version) == 201
    path = f"{MODEL}/{version}/gates"
    [gate] = (await office.registry.client.get(path, headers=office.keys["bob"])).json()["gates"]
    assert (gate["met"], gate["by"]) == (True, ["bob"])
    assert (await office.promote("ada", version, "production")).status_code == 200


async def test_whoever_asked_for_the_training_is_no_second_pair_of_eyes(office: Office, tmp_path: Path) -> None:
    """The trainer registered it; the idea was ada's."""
    registry = office.registry
    parts = registry.service.state["parts"]
    registrar = Registrar(parts.db, parts.work, parts.store, tmp_path / "staging", parts.inspector)
    made = await asyncio.to_thread(left, registry, tmp_path / "job", "job-1", {})
    message = made.model_copy(update={"requested_by": "ada"})
    await registry.service.work.run(lambda uow: on_job_succeeded(message, uow))
    task = asyncio.create_task(registrar.run())
    try:
        [registered] = await until(lambda: registry.events(ModelRegistered), 60, "the registration")
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    path, client = f"/mlops/models/m/{registered.version}", registry.client
    policy = {"production": {"approvals": 1, "four_eyes": True}}
    assert (await client.put("/mlops/models/m/policy", json=policy, headers=office.keys["root"])).status_code == 200
    for who, met, says in (
        ("ada", False, "of ada none counts: four eyes, and they registered the version, asked for its training"),
        ("bob", True, "1 was given (bob)"),
    ):
        body = {"stage": "production", "decision": "approve"}
        assert (await client.post(f"{path}/approvals", json=body, headers=office.keys[who])).status_code == 201
        [gate] = (await client.get(f"{path}/gates", headers=office.keys[who])).json()["gates"]
        assert gate["met"] is met
        assert says in gate["says"]


async def test_an_approval_is_of_the_text_that_was_there(office: Office) -> None:
    """Nobody writes other words under an approval: not beside the version, and not with the promotion itself."""
    version = await uploaded(office, "grace")
    await rule(office, approvals=1, four_eyes=True)
    client, grace = office.registry.client, office.keys["grace"]
    assert await office.says("bob", "approve", version) == 201

    async def gate() -> tuple[bool, str]:
        answer = await client.get(f"{MODEL}/{version}/gates", headers=grace)
        [found] = [gate for gate in answer.json()["gates"] if gate["gate"] == "approvals"]
        return found["met"], found["says"]

    async def write(**said: Any) -> None:
        answer = await client.patch(f"{MODEL}/{version}", json=said, headers=grace)
        assert answer.status_code == 200, answer.text

    await write(tags={"team": "blue"})
    assert (await gate())[0], "tags are no part of it"
    said = {"stage": "production", "changes": "quite another story"}
    refused = await client.post(f"{MODEL}/{version}/promote", json=said, headers=grace)
    assert (refused.status_code, refused.json()["code"]) == (409, "gates-unmet")
    assert "bob approved another description or other changes than there are now" in refused.json()["unmet"][0]
    assert (await client.get(f"{MODEL}/{version}", headers=grace)).json()["changes"] == "a test's"
    assert (await gate())[0], "what is refused is not written"

    before = (await client.get(f"{MODEL}/{version}", headers=grace)).json()["description"]
    await write(description="another model altogether")
    met, says = await gate()
    assert not met
    assert "bob approved another description" in says
    await write(description=before)
    assert (await gate())[0], "the text that was approved is there again"
    await write(changes="more than before")
    assert not (await gate())[0]
    assert (await office.promote("grace", version, "production")).status_code == 409
    assert await office.says("bob", "approve", version) == 201
    assert (await office.promote("grace", version, "production")).status_code == 200


async def test_the_latest_word_of_each_counts(office: Office) -> None:
    version = await uploaded(office, "grace")
    await rule(office, approvals=2)
    for who, decision, status in (
        ("bob", "approve", 409),
        ("bob", "approve", 409),  # one person is one approval
        ("eve", "reject", 409),
        ("ada", "approve", 409),  # two approve, and one rejection stands
        ("eve", "approve", 200),
    ):
        assert await office.says(who, decision, version, comment=f"{who} says {decision}") == 201
        answer = await office.promote("grace", version, "production")
        assert answer.status_code == status, answer.text
        if decision == "reject":
            assert "rejected by eve (eve says reject)" in answer.json()["detail"]


async def test_a_rejection_blocks_without_any_policy(office: Office) -> None:
    version = await uploaded(office, "ada")
    assert await office.says("bob", "reject", version) == 201
    assert (await office.promote("ada", version, "production")).status_code == 409
    other = await uploaded(office, "ada", seed=1)
    assert (await office.promote("ada", other, "production")).status_code == 200, "it is about that version alone"


async def test_an_approval_is_for_one_stage(office: Office) -> None:
    version = await uploaded(office, "grace")
    await rule(office, approvals=1)
    assert await office.says("bob", "approve", version, stage="staging") == 201
    assert (await office.promote("grace", version, "production")).status_code == 409


async def test_who_may_say_what(office: Office) -> None:
    version = await uploaded(office, "ada")
    await office.hire("reader", "read")
    await office.hire("elsewhere", "approve", prefixes=("other-",))
    await office.hire("boss", "admin", prefixes=("threat-",))
    for who, decision, status in (
        ("grace", "ask", 201),
        ("grace", "approve", 403),
        ("grace", "reject", 403),
        ("bob", "ask", 403),
        ("bob", "approve", 201),
        ("reader", "ask", 403),
        ("reader", "approve", 403),
        ("elsewhere", "approve", 403),
        ("root", "approve", 201),
    ):
        assert await office.says(who, decision, version) == status, (who, decision)
    client = office.registry.client
    for who, path, status in (
        ("bob", f"{MODEL}/policy", 403),
        ("ada", f"{MODEL}/policy", 403),
        ("boss", f"{MODEL}/policy", 200),
        ("boss", "/mlops/policy", 403),  # the default is for models that the key may not touch
        ("root", "/mlops/policy", 200),
    ):
        assert (await client.put(path, json={"former": "staging"}, headers=office.keys[who])).status_code == status
    assert (await client.delete("/mlops/policy", headers=office.keys["boss"])).status_code == 403
    control = {"title": "t", "owner": "o"}
    for who, status in (("grace", 403), ("bob", 200)):
        answer = await client.put(f"{MODEL}/controls/c", json=control, headers=office.keys[who])
        assert answer.status_code == status
    check = {"name": "bias", "passed": True}
    for who, status in (("bob", 403), ("grace", 201)):
        answer = await client.post(f"{MODEL}/{version}/checks", json=check, headers=office.keys[who])
        assert answer.status_code == status


async def test_what_was_said_is_kept_and_told(office: Office) -> None:
    version = await uploaded(office, "ada")
    await office.says("grace", "ask", version, comment="please")
    await office.says("grace", "ask", version, comment="please!")
    await office.says("bob", "reject", version, comment="too slow")
    await office.says("bob", "approve", version)
    client, reader = office.registry.client, office.keys["bob"]
    path = f"{MODEL}/{version}/approvals"
    found = (await client.get(path, headers=reader)).json()["approvals"]
    assert [(word["actor"], word["decision"], word["comment"]) for word in found] == [
        ("bob", "approve", ""),
        ("bob", "reject", "too slow"),
        ("grace", "ask", "please!"),
        ("grace", "ask", "please"),
    ]
    page = (await client.get(path, params={"limit": 3}, headers=reader)).json()
    rest = (await client.get(path, params={"cursor": page["next_cursor"]}, headers=reader)).json()
    assert page["approvals"] + rest["approvals"] == found
    events = await office.registry.events(ApprovalDecided)
    assert [(event.actor, event.decision.value) for event in events] == [
        (word["actor"], word["decision"]) for word in reversed(found)
    ]
    alerts = await office.registry.events(Alert)
    assert [(alert.state, alert.detail) for alert in alerts] == [
        ("raised", "grace asked: please"),
        ("resolved", "bob said reject: too slow"),
    ]
    for body in ({"stage": "archived", "decision": "approve"}, {"stage": "production", "decision": "maybe"}):
        assert (await client.post(path, json=body, headers=reader)).status_code == 422
    assert (
        await client.post(f"{MODEL}/9.9.9/approvals", json={"stage": "staging", "decision": "approve"}, headers=reader)
    ).status_code == 404


async def test_a_decision_once_by_key(office: Office) -> None:
    version = await uploaded(office, "ada")
    headers = office.keys["bob"] | {"Idempotency-Key": "a1"}
    body = {"stage": "production", "decision": "approve"}
    path = f"{MODEL}/{version}/approvals"
    answers = [await office.registry.client.post(path, json=body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    assert len(await office.registry.events(ApprovalDecided)) == 1


async def test_no_promotion_after_a_rejection(office: Office, registry_settings: RegistrySettings) -> None:
    """Two registries: one promotes while the other takes the rejection. The audit trail shows which came first."""
    async for other in running(registry_settings):
        office.registry.client.headers.update(office.keys["ada"])
        found = [await office.registry.version(seed) for seed in range(8)]
        word = {"stage": "staging", "decision": "reject"}
        answers = await asyncio.gather(
            *(
                answer
                for version in found
                for answer in (
                    office.promote("ada", version, "staging"),
                    other.client.post(f"{MODEL}/{version}/approvals", json=word),
                )
            )
        )
        promoted = {version for version, answer in zip(found, answers[::2], strict=True) if answer.status_code == 200}
        assert {answer.status_code for answer in answers[::2]} <= {200, 409}
        assert {answer.status_code for answer in answers[1::2]} == {201}
        order = await office.registry.service.db.read(
            lambda connection: {
                (row.entity.removeprefix("threat-classifier:"), row.action): row.seq
                for row in connection.execute(sa.select(audit))
            }
        )
        for version in found:
            moved = order.get((version, "model.staging"))
            assert (moved is not None) is (version in promoted)
            assert moved is None or moved < order[version, "approval.reject"]
