"""Options, fallbacks and variants of a deployment: what is taken, what is refused, what stays when traffic moves."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from schemas.events import DeploymentWanted
from services.kernel.idempotency import digest
from services.kernel.tables import idempotency
from services.registry.settings import RegistrySettings
from services.registry.tables import audit
from tests.contract.registry.conftest import Registry, running
from tests.contract.registry.test_keys import granted
from tests.graphs import classifier

MODEL = "threat-classifier"
URL = f"/mlops/deployments/{MODEL}"
OPTIONS = {
    "timeoutMs": 200,
    "inputs": {"unexpected": "reject"},
    "log": {"sample": 0.5, "redact": {"protocol": "hash"}},
    "circuit": {"openSeconds": 3},
    "pinned": True,
}


async def put_options(registry: Registry, document: Any, revision: int | None = None) -> httpx.Response:
    headers = {"If-Match": f'"{revision}"'} if revision is not None else None
    return await registry.client.put(f"{URL}/options", json=document, headers=headers)


async def current(registry: Registry) -> dict[str, Any]:
    answer = await registry.client.get(URL)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def chosen(document: dict[str, Any]) -> dict[str, Any]:
    """The options that differ from none."""
    wanted = {name: document[name] for name in DeploymentWanted.model_fields}
    return DeploymentWanted.model_validate(wanted).options.model_dump(exclude_defaults=True)


async def test_options_stay_with_the_model_until_others_are_given(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    second = await registry.version(1, "staging")
    answer = await registry.deploy(options=OPTIONS)
    assert answer.status_code == 202, answer.text
    asked = chosen(answer.json())
    assert asked == {
        "timeout_ms": 200.0,
        "inputs": {"unexpected": "reject"},
        "log": {"sample": 0.5, "redact": {"protocol": "hash"}},
        "circuit": {"open_seconds": 3.0},
        "pinned": True,
    }
    canary = await registry.deploy(version=second, canary=10)
    assert chosen(canary.json()) == asked
    await registry.promote(second, "production")
    assert chosen(await current(registry)) == asked, "the promotion ended the canary"
    back = await registry.client.post(f"{URL}/rollback", json={})
    assert back.json()["routes"][0]["version"] == first
    assert chosen(back.json()) == asked
    whole = {"model_id": MODEL, "routes": [{"name": "a", "version": second, "weight": 100}]}
    assert chosen((await registry.client.post("/mlops/deployments", json=whole)).json()) == asked
    nothing = await registry.client.post("/mlops/deployments", json={"model_id": MODEL, "routes": []})
    assert chosen(nothing.json()) == asked
    other = await registry.deploy(version=second, options={"batch_rows": 8})
    assert chosen(other.json()) == {"batch_rows": 8}, "the whole document is replaced"
    assert chosen((await registry.deploy(version=second, options=None)).json()) == {}
    events = await registry.events(DeploymentWanted)
    assert [event.options.batch_rows for event in events][-2:] == [8, None]


async def test_only_other_options_make_a_revision(registry: Registry) -> None:
    version = await registry.version(0, "staging", "production")
    assert (await put_options(registry, {})).status_code == 404
    await registry.deploy(reason="the first")
    stale = await put_options(registry, {"pinned": True}, 7)
    assert (stale.status_code, stale.json()["revision"]) == (412, 1)
    answer = await put_options(registry, {"pinned": True}, 1)
    assert answer.status_code == 202, answer.text
    assert (answer.json()["revision"], chosen(answer.json())) == (2, {"pinned": True})
    assert [route["version"] for route in answer.json()["routes"]] == [version]
    assert answer.json()["reason"] == "the first", "the loop knows its own deployment by it"
    assert (await put_options(registry, {"pinned": True})).json()["revision"] == 2
    assert (await registry.deploy(options={"pinned": True})).json()["revision"] == 2
    assert (await registry.deploy(options={"pinned": False})).json()["revision"] > 2
    history = (await registry.client.get(f"{URL}/history")).json()
    assert [each["options"]["pinned"] for each in history] == [False, True, False]

    def facts(connection: Any) -> list[Any]:
        query = sa.select(audit.c.facts).where(audit.c.action == "deployment.wanted").order_by(audit.c.seq)
        return [json.loads(row.facts).get("options") for row in connection.execute(query)]

    assert await registry.service.db.read(facts) == [None, {"pinned": True}, {}]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"timeout": 5}, "options.timeout"),
        ({"timeoutms": 5}, "options.timeoutms"),
        ({"log": {"sampel": 0.5}}, "options.log.sampel"),
        ({"inputs": {"Range": "flag"}}, "options.inputs.Range"),
        ({"circuit": {"open_second": 1}}, "options.circuit.open_second"),
        ({"timeout_ms": 5, "timeoutMs": 6}, "options.timeoutMs"),
        ({"log": {"redact": {"protocol": "encrypt"}}}, "options.log.redact.protocol"),
        ({"timeout_ms": 0}, "options.timeout_ms"),
        ({"inputs": {"range": "ignore"}}, "options.inputs.range"),
        ([], "options"),
    ],
)
async def test_an_unknown_member_is_named_at_any_depth(registry: Registry, options: Any, names: str) -> None:
    whole = {"model_id": MODEL, "routes": [], "options": options}
    for answer in (
        await registry.deploy(options=options),
        await registry.client.post("/mlops/deployments", json=whole),
    ):
        assert answer.status_code == 422, answer.text
        assert names in answer.json()["detail"]
    put = await put_options(registry, options)
    assert put.status_code == 422
    assert names.removeprefix("options").removeprefix(".") in put.json()["detail"]


async def test_redacted_features_are_features(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    odd = await registry.deploy(options={"log": {"redact": {"e-mail": "drop", "protocol": "hash"}}})
    assert odd.status_code == 422
    assert "options.log.redact names e-mail" in odd.json()["detail"]
    await registry.deploy()
    other = (await registry.register(graph=classifier(1, extra="email"))).json()["version"]
    await registry.promote(other, "staging")
    redacted = await registry.deploy(version=other, options={"log": {"redact": {"email": "hash"}}})
    assert redacted.status_code == 202, redacted.text
    kept = await registry.deploy(version=first)
    assert kept.status_code == 409
    assert f"redact email, which version {first} does not take" in kept.json()["detail"]
    back = await registry.client.post(f"{URL}/rollback", json={})
    assert back.status_code == 202, "a rollback is not held up by it"
    assert back.json()["routes"][0]["version"] == first


async def test_a_rollback_hides_what_its_state_hid(registry: Registry) -> None:
    first = (await registry.register(graph=classifier(0, extra="email"))).json()["version"]
    await registry.promote(first, "staging")
    await registry.deploy(version=first, options={"log": {"redact": {"email": "drop", "protocol": "hash"}}})
    second = await registry.version(1, "staging")
    fresh = await registry.deploy(version=second, options={"log": {"sample": 0.5}})
    assert fresh.status_code == 202, fresh.text
    back = (await registry.client.post(f"{URL}/rollback", json={})).json()
    assert back["routes"][0]["version"] == first
    assert back["options"]["log"] == {"sample": 0.5, "redact": {"email": "drop"}}, "protocol was shown on purpose"


async def test_a_model_to_fall_back_to(registry: Registry) -> None:
    first = await registry.version(0, "staging", "production")
    second = await registry.version(1, "staging")
    spare = await registry.version(2, model_id="spare")
    await registry.register("other", classifier(3, extra="length"))
    cases = [(MODEL, 422, "does not fall back to itself"), ("nobody", 404, "no model"), ("other", 409, "inputs length")]
    for model_id, status, says in cases:
        answer = await registry.deploy(fallbackModel=model_id)
        assert answer.status_code == status, answer.text
        assert says in answer.json()["detail"]
    answer = await registry.deploy(fallback_model="spare", fallback_constant={"prediction": "1"})
    assert answer.status_code == 202, answer.text
    canary = (await registry.deploy(version=second, canary=10)).json()
    assert (canary["fallback_model"], canary["fallback_constant"]["prediction"]) == ("spare", "1")
    fresh = (await registry.deploy(version=second)).json()
    assert (fresh["fallback_model"], fresh["fallback_constant"]) == (None, None)
    back = (await registry.client.post(f"{URL}/rollback", json={})).json()
    assert (back["routes"][0]["version"], back["fallback_model"]) == (first, "spare")
    await registry.promote(spare, "staging", "spare")
    circle = await registry.deploy(modelId="spare", version=spare, fallbackModel=MODEL)
    assert circle.status_code == 422
    assert "spare -> threat-classifier -> spare never ends" in circle.json()["detail"]
    nothing = {"model_id": MODEL, "routes": [], "fallback_model": "spare"}
    assert (await registry.client.post("/mlops/deployments", json=nothing)).status_code == 422


@pytest.mark.parametrize(
    ("constant", "says"),
    [
        ({"prediction": "3"}, "none of the classes"),
        ({"prediction": 1}, "must be a text, in quotes, that is one of them: "),
        ({"prediction": "1", "probabilities": {"0": 1.0}}, "must name its prediction"),
        ({"prediction": "1", "probabilities": {"1": 0.5, "9": 0.5}}, "probabilities of 9"),
        ({"prediction": "1", "probabilities": {"1": 1.5}}, "between 0 and 1"),
        ({"prediction": "1", "probability": 1}, "probability"),
        ({}, "prediction"),
        ("1", "fallback_constant"),
    ],
)
async def test_a_constant_is_one_of_the_classes(registry: Registry, constant: Any, says: str) -> None:
    await registry.version(0, "staging", "production")
    answer = await registry.deploy(fallback_constant=constant)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]


async def test_variants_have_names(registry: Registry) -> None:
    one = await registry.version(0, "staging", "production")
    two = await registry.version(1, "staging")
    await registry.client.put(f"/mlops/models/{MODEL}/aliases/challenger", json={"version": two})
    answer = await registry.deploy(
        variants={"A": {"version": one, "weight": 60}, "B": {"version": "@challenger", "weight": 40}},
        stickyKey="duration",
    )
    assert answer.status_code == 202, answer.text
    body = answer.json()
    assert [(route["name"], route["version"], route["weight"]) for route in body["routes"]] == [
        ("A", one, 60.0),
        ("B", two, 40.0),
    ]
    assert body["sticky_key"] == "duration"
    half = {"version": one, "weight": 50}
    cases: list[tuple[dict[str, Any], str]] = [
        ({"variants": {"A": half}}, "add up to 50"),
        ({"variants": {"A": half, "B": half}}, "the same version"),
        ({"variants": {"A": half, "shadow": {"version": two, "weight": 50}}}, "cannot be called 'shadow'"),
        ({"variants": {"a/b": half}}, "variants"),
        ({"variants": {}}, "variants"),
        ({"variants": {"A": {**half, "wieght": 1}}}, "wieght"),
        ({"variants": {"A": half}, "version": one}, "or `variants`"),
        ({"variants": {"A": half}, "weights": {one: 100}}, "or `variants`"),
        ({"variants": {"A": half}, "quantize": "int8"}, "give it in the variants"),
    ]
    for document, says in cases:
        refused = await registry.deploy(**document)
        assert refused.status_code == 422, refused.text
        assert says in refused.json()["detail"]
    await registry.promote(two, "production")
    assert [(route["name"], route["weight"]) for route in (await current(registry))["routes"]] == [("stable", 100.0)]


async def test_a_key_bound_to_models_sends_no_traffic_to_others(tmp_path: Path) -> None:
    settings = RegistrySettings(data_dir=tmp_path, auth="keys", internal_key="internal-secret")
    async for guarded in running(settings):
        guarded.client.headers["Authorization"] = "Bearer internal-secret"
        await guarded.version(0, "staging", "production")
        await guarded.version(1, model_id="spare")
        key = await granted(guarded, "deploy", prefixes=("threat-",))
        refused = await guarded.deploy(headers=key, fallback_model="spare")
        assert refused.status_code == 403
        assert (await guarded.deploy(headers=key)).status_code == 202
        put = await guarded.client.put("/mlops/deployments/spare/options", json={}, headers=key)
        assert put.status_code == 403
        reader = await granted(guarded, "read")
        assert (await guarded.client.put(f"{URL}/options", json={}, headers=reader)).status_code == 403


async def test_an_earlier_idempotency_key_still_answers(registry: Registry) -> None:
    """What was remembered before there were options is found by the same request."""
    await registry.version(0, "staging", "production")
    answer = await registry.deploy(headers={"Idempotency-Key": "k"}, reason="r")
    assert answer.status_code == 202
    before = {
        **{"model_id": MODEL, "version": None, "alias": None, "canary": None, "weights": None, "shadow": None},
        **{"fallback": None, "sticky_key": None, "reason": "r"},
    }

    def kept(connection: Any) -> str:
        return str(connection.execute(idempotency.select()).one().request_sha256)

    assert await registry.service.db.read(kept) == digest([answer.json()["actor"], [before, None]])
    again = await registry.deploy(headers={"Idempotency-Key": "k"}, reason="r")
    assert again.json() == answer.json()
    other = await registry.deploy(headers={"Idempotency-Key": "k"}, reason="r", options={"pinned": True})
    assert other.status_code == 409
