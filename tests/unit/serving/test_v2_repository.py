"""The model repository extension over a real pool."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.kernel.errors import Forbidden
from services.serving.asking import Asking
from services.serving.dataplane import DataPlane
from services.serving.exchange import Gate
from services.serving.predict_api import PredictApi
from services.serving.predlog import LogBudget
from services.serving.v2 import ProtocolV2
from tests.unit.serving.conftest import no_explanation, nothing_else
from tests.unit.serving.stage import Stage, staged
from tests.waiting import until

X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0, 5.0, 0.0, 0.0]}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A pool with nothing in it."""
    async with staged(tmp_path) as stage:
        yield stage


async def index(stage: Stage, content: bytes = b"") -> list[dict[str, Any]]:
    answer = await stage.client.post("/v2/repository/index", content=content)
    assert answer.status_code == 200, answer.text
    lines: list[dict[str, Any]] = answer.json()
    return lines


async def post(stage: Stage, path: str, body: Any = None) -> tuple[int, Any]:
    content = b"" if body is None else json.dumps(body).encode()
    answer = await stage.client.post(path, content=content)
    return answer.status_code, answer.json()


async def is_ready(stage: Stage, path: str = "/v2/models/m/ready") -> int:
    return (await stage.client.get(path)).status_code


async def test_unload_and_load_by_hand(stage: Stage) -> None:
    stage.deploy("m", 1, stage.publish("m", "1.0.0"))
    await until(lambda: "m" in stage.catalog.models, 20, "the model")
    (line,) = await index(stage)
    assert (line["name"], line["version"], line["state"]) == ("m", "1.0.0", "READY")
    tritons = {"parameters": {"unload_dependents": False}}
    assert await post(stage, "/v2/repository/models/m/unload", tritons) == (200, {})
    status, answer = await post(stage, "/v2/models/m/infer", {"inputs": [X]})
    assert (status, "unloaded by hand" in answer["error"]) == (503, True)
    assert await is_ready(stage) == 503
    (line,) = await index(stage)
    assert (line["state"], "unloaded by hand" in line["reason"]) == ("UNAVAILABLE", True)
    assert await index(stage, b'{"ready": true}') == []
    assert await post(stage, "/v2/repository/models/m/load") == (200, {})
    assert (await post(stage, "/v2/models/m/infer", {"inputs": [X]}))[0] == 200
    assert await post(stage, "/v2/repository/models/m/load", {}) == (200, {})
    assert len(await index(stage, b'{"ready": true}')) == 1


async def test_load_waits_until_the_model_is_ready(stage: Stage) -> None:
    stage.store.gate.clear()
    stage.deploy("m", 1, stage.publish("m", "1.0.0"))
    loads = [asyncio.create_task(post(stage, "/v2/repository/models/m/load")) for _ in range(3)]
    await until(lambda: "m" in stage.catalog.loading, 20, "the load")
    assert [line["state"] for line in await index(stage)] == ["LOADING"]
    assert await is_ready(stage) == 503
    assert not any(load.done() for load in loads)
    stage.store.gate.set()
    assert await asyncio.gather(*loads) == [(200, {})] * 3
    assert await is_ready(stage) == 200


async def test_a_model_that_is_not_deployed_names_the_way(stage: Stage) -> None:
    for verb in ("load", "unload"):
        status, answer = await post(stage, f"/v2/repository/models/nobody/{verb}")
        assert (status, "POST /mlops/deploy" in answer["error"]) == (400, True)
    assert await is_ready(stage, "/v2/models/nobody/ready") == 404


async def test_a_model_unloaded_for_room_is_ready_and_described(stage: Stage) -> None:
    for name in ("m", "n"):
        stage.deploy(name, 1, stage.publish(name, "1.0.0"))
    await until(lambda: len(stage.catalog.models) == 2, 20, "both models")
    stage.configure(max_models_in_memory=1)
    await until(lambda: len(stage.catalog.models) == 1, 20, "one model")
    (cold,) = {"m", "n"} - set(stage.catalog.models)
    assert await is_ready(stage, f"/v2/models/{cold}/ready") == 200
    assert await is_ready(stage, f"/v2/models/{cold}/versions/1.0.0/ready") == 200
    assert await is_ready(stage, f"/v2/models/{cold}/versions/9.0.0/ready") == 404
    lines = {line["name"]: line for line in await index(stage)}
    assert (lines[cold]["state"], "make room" in lines[cold]["reason"]) == ("READY", True)
    assert (await stage.client.get(f"/v2/models/{cold}/stats")).status_code in (404, 503)
    assert (await stage.client.get(f"/v2/models/{cold}")).json()["versions"] == ["1.0.0"]


async def test_a_version_that_fails_says_why_and_the_last_good_one_answers(stage: Stage) -> None:
    stage.deploy("m", 1, stage.publish("m", "1.0.0"))
    await until(lambda: "m" in stage.catalog.models, 20, "the model")
    stage.deploy("m", 2, stage.publish("m", "2.0.0", build=lambda path: path.write_bytes(b"\x08\x09 not a graph")))
    await until(lambda: any(line.state == "failed" for line in stage.pool.report()), 20, "the failure")
    old, new = await index(stage)
    assert (old["version"], old["state"]) == ("1.0.0", "READY")
    assert (new["version"], new["state"], "not a graph" in new["reason"]) == ("2.0.0", "UNAVAILABLE", True)


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"ready": 1}', b"\xff", b"[" * 100_000])
async def test_bad_index_requests(stage: Stage, body: bytes) -> None:
    answer = await stage.client.post("/v2/repository/index", content=body)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])


async def test_files_and_configurations_come_from_the_registry(stage: Stage) -> None:
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": "AAAA"}):
        status, answer = await post(stage, "/v2/repository/models/m/load", {"parameters": parameters})
        assert (status, "registered version" in answer["error"]) == (501, True)
    status, answer = await post(stage, "/v2/repository/models/m/load", [1])
    assert (status, list(answer)) == (400, ["error"])


def only_reads_m(authorization: str | None, scope: str, model_id: str | None) -> None:
    """A key that may read models whose names begin with `m`."""
    if scope != "read" or (model_id is not None and not model_id.startswith("m")):
        raise Forbidden("not with this key")


async def test_only_who_may_deploy_loads_and_unloads(stage: Stage) -> None:
    for name in ("m", "other"):
        stage.deploy(name, 1, stage.publish(name, "1.0.0"))
    await until(lambda: len(stage.catalog.models) == 2, 20, "both models")
    asking = Asking(stage.catalog, LogBudget(1 << 20, "reject"))
    protocol = ProtocolV2(asking, only_reads_m, stage.pool, server_name="trimtab", ready=lambda: True)
    app = DataPlane(PredictApi(asking, only_reads_m), protocol, no_explanation, Gate(stage.settings), nothing_else)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3006") as client:
        for verb in ("load", "unload"):
            answer = await client.post(f"/v2/repository/models/m/{verb}")
            assert (answer.status_code, list(answer.json())) == (403, ["error"])
        assert [line["name"] for line in (await client.post("/v2/repository/index")).json()] == ["m"]
        everything = (await client.get("/v2/models/stats")).json()["model_stats"]
        assert [entry["name"] for entry in everything] == ["m"]
        assert (await client.get("/v2/models/other/stats")).status_code == 403
    assert stage.answering("m") == ["1.0.0"]
