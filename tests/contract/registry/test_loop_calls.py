"""The loop's calls, answered by the real registry: a deployment is replaced at the known revision only."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from schemas.events import ApprovalDecided, Decision
from services.loop.peers import Outdated, Peers, Refused
from services.loop.settings import LoopSettings
from tests.contract.registry.conftest import Registry
from tests.graphs import classifier

MODEL = "threat-classifier"


@pytest.fixture
async def peers(registry: Registry, tmp_path: Path) -> AsyncIterator[Peers]:
    """The loop's client of the registry under test."""
    assert registry.service.app is not None
    made = Peers(LoopSettings(data_dir=tmp_path), httpx.ASGITransport(app=registry.service.app))
    yield made
    await made.stop()


async def test_a_deployment_is_replaced_only_at_the_known_revision(registry: Registry, peers: Peers) -> None:
    champion = await registry.version(0, "staging", "production")
    challenger = await registry.version(1, "staging")
    assert (await registry.deploy()).status_code == 202

    async def canary(replaces: int) -> int:
        return await peers.deploy(
            MODEL, challenger, replaces=replaces, canary=20, reason="the loop's c", key="c-canary", cause=None
        )

    present = await peers.deployment(MODEL)
    assert (present.revision, [route.version for route in present.routes]) == (1, [champion])
    with pytest.raises(Outdated):
        await canary(0)
    assert await canary(1) == 2
    assert await canary(1) == 2, "the same call again has no effect"
    present = await peers.deployment(MODEL)
    assert (present.revision, present.reason) == (2, "the loop's c")
    assert (await registry.deploy(version=champion)).status_code == 202
    with pytest.raises(Outdated):
        await canary(2)
    assert (await peers.deployment(MODEL)).revision == 3


async def test_another_refusal_is_not_a_newer_deployment(registry: Registry, peers: Peers) -> None:
    await registry.version(0, "staging", "production")
    draft = (await registry.register(MODEL, classifier(1))).json()["version"]
    assert (await registry.deploy()).status_code == 202
    with pytest.raises(Refused) as refused:
        await peers.deploy(MODEL, draft, replaces=1, canary=20, reason="r", key="k", cause=None)
    assert not isinstance(refused.value, Outdated)


async def test_the_gates_of_a_policy_are_asked_for_and_told_in_words(registry: Registry, peers: Peers) -> None:
    version = await registry.version(0, "staging")
    rule = {"production": {"required_checks": ["bias"], "approvals": 1}}
    assert (await registry.client.put(f"/mlops/models/{MODEL}/policy", json=rule)).status_code == 200
    assert await peers.unmet_gates(MODEL, version, "staging") == {}
    unmet = await peers.unmet_gates(MODEL, version, "production")
    assert list(unmet) == ["approvals", "check bias"]
    with pytest.raises(Refused) as refused:
        await peers.promote(MODEL, version, "production", "the loop's c", "c-production", None)
    for sentence in unmet.values():
        assert sentence in refused.value.detail
    for _ in range(2):
        await peers.ask_approval(MODEL, version, "production", "the loop's c", "c-ask-production", None)
    assert [event.decision for event in await registry.events(ApprovalDecided)] == [Decision.ASK]
    await registry.client.post(
        f"/mlops/models/{MODEL}/{version}/approvals", json={"stage": "production", "decision": "reject"}
    )
    assert "rejections" in await peers.unmet_gates(MODEL, version, "production"), "the name that the driver knows"
