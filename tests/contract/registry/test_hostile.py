"""Requests that mean harm: an answer below 500 with a sentence, on every database."""

import base64
import json
from typing import Any

from tests.contract.registry.conftest import Registry

NUL = "a\0b"


def cursor(*position: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()


REQUESTS: list[tuple[str, str, Any]] = [
    ("GET", "/mlops/models?name=%00", None),
    ("GET", f"/mlops/models?cursor={cursor(NUL)}", None),
    ("GET", "/mlops/models?cursor=%00", None),
    ("GET", "/mlops/models?cursor=é", None),
    ("GET", f"/mlops/models/m?cursor={cursor(10**30, 0, 0)}", None),
    ("GET", f"/mlops/models/m/history?cursor={cursor(10**30)}", None),
    ("GET", f"/mlops/models/m/history?cursor={cursor(True)}", None),
    ("GET", "/mlops/models/m/history?at=2026-01-01T00:00:00%2B01:00", None),
    ("GET", "/mlops/models/m/history?at=yesterday", None),
    ("GET", "/mlops/models/%00", None),
    ("GET", "/mlops/models/m/1.0.99999999999999999999", None),
    ("GET", "/mlops/deployments/m/history?before=99999999999999999999999", None),
    ("GET", "/mlops/models?limit=99999999999999999999999", None),
    ("POST", "/mlops/models/m/VERSION/promote", {"stage": "staging", "comment": NUL}),
    ("POST", "/mlops/models/m/VERSION/promote", {"stage": "staging", "comment": "x" * 3000}),
    ("POST", "/mlops/models/m/VERSION/promote", {"stage": NUL}),
    ("POST", "/mlops/models/m/VERSION/promote", []),
    ("POST", "/mlops/models/m/VERSION/promote", None),
    ("POST", "/mlops/models/m/VERSION/archive", {"comment": NUL}),
    ("POST", "/mlops/models/m/VERSION/archive", {"comment": {}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "version": "VERSION", "canary": 1e999}),
    ("POST", "/mlops/deploy", {"modelId": "m", "weights": {}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "weights": {"VERSION": float("nan")}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "weights": {f"1.0.{i}": 1 for i in range(200)}}),
    ("POST", "/mlops/deploy", {"modelId": "m", "reason": NUL}),
    ("POST", "/mlops/deploy", {"modelId": NUL}),
    ("POST", "/mlops/deploy", {}),
    ("POST", "/mlops/deployments", {"modelId": "m", "routes": [{"name": "a", "version": "VERSION", "weight": -1}]}),
    (
        "POST",
        "/mlops/deployments",
        {"modelId": "m", "routes": [{"name": NUL, "version": "VERSION", "weight": 100}]},
    ),
    ("POST", "/mlops/deployments", {"modelId": "m", "routes": [], "shadow": "VERSION"}),
    ("POST", "/mlops/deployments/m/rollback", {"reason": NUL}),
    ("POST", "/mlops/deployments/m/rollback", {"reason": 7}),
    ("POST", "/mlops/deployments/nobody/rollback", {}),
    ("POST", "/mlops/keys", {"name": NUL, "scopes": ["read"]}),
    ("POST", "/mlops/keys", {"name": "x", "scopes": ["read"], "modelPrefixes": [NUL]}),
    ("DELETE", "/mlops/keys/%00", None),
]


async def test_an_answer_below_500(registry: Registry) -> None:
    version = (await registry.register("m")).json()["version"]
    for method, path, body in REQUESTS:
        content = None if body is None else json.dumps(body).replace("VERSION", version)
        answer = await registry.client.request(
            method, path.replace("VERSION", version), content=content, headers={"Content-Type": "application/json"}
        )
        assert 400 <= answer.status_code < 500, (path, body, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]


async def test_odd_but_honest_requests(registry: Registry) -> None:
    await registry.register("m")
    for path in ("m/history?at=9999-12-31T23:59:59Z", "m/history?at=0001-01-01T00:00:00Z"):
        assert (await registry.client.get(f"/mlops/models/{path}")).json()["production_version"] is None
    assert (await registry.client.get("/mlops/models?name=%25_%5C")).json()["models"] == []


async def test_metadata_that_no_database_keeps(registry: Registry) -> None:
    for metadata in ({"model_name": NUL}, {"model_type": NUL}, {"model_type": "x" * 200}):
        assert (await registry.register("m", None, None, None, **metadata)).status_code == 422


async def test_text_that_every_database_keeps(registry: Registry) -> None:
    odd = "naïve \u2028 \U0001f600 ' \" ; -- \\ %s {} \x01"
    answer = await registry.register(
        "m", description=odd, tags={odd: odd, NUL: NUL}, hyperparameters={odd: [odd, None]}
    )
    assert answer.status_code == 201, answer.text
    version = answer.json()["version"]
    body = (await registry.client.get(f"/mlops/models/m/{version}")).json()
    assert body["tags"] == {odd: odd, NUL: NUL}
    moved = await registry.client.post(f"/mlops/models/m/{version}/promote", json={"stage": "staging", "comment": odd})
    assert moved.status_code == 200
    history = (await registry.client.get("/mlops/models/m/history")).json()["history"]
    assert history[0]["comment"] == odd
