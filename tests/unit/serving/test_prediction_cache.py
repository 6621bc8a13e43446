"""Cached predictions through both faces: the same answer, never another version's, each with an id and in the log."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.serving_options import Constant, ServingOptions
from services.serving.cache import MOST_ROWS
from services.serving.cache.memory import MemoryCache
from services.serving.config import ServerConfig
from services.serving.served import ServedVersion
from tests.serving_models import VECTOR
from tests.unit.serving.conftest import Plane
from tests.unit.serving.scripted import Scripted

CACHED = ServingOptions(cache_ttl_seconds=60)


def deploy(plane: Plane, version: str, runtime: Scripted, options: ServingOptions = CACHED) -> ServedVersion:
    return plane.deploy("m", {version: (VECTOR, runtime)}, options=options).versions[version]


async def predict(plane: Plane, first: float = 1, **said: Any) -> dict[str, Any]:
    body = {"modelId": "m", "input": {"x": [first, 2, 3, 4]}, **said}
    answer = await plane.client.post("/mlops/predict", content=json.dumps(body))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def infer(plane: Plane, rows: int = 1, **parameters: Any) -> dict[str, Any]:
    x = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [1, 2, 3, 4] * rows}
    content = json.dumps({"inputs": [x], "parameters": parameters})
    answer = await plane.client.post("/v2/models/m/infer", content=content)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_repeated_question_is_answered_without_a_run(plane: Plane) -> None:
    runtime = Scripted(1)
    served = deploy(plane, "1.0.0", runtime)
    first, second = await predict(plane), await predict(plane)
    assert (first["cached"], second["cached"]) == (False, True)
    assert first["probabilities"] == second["probabilities"]
    assert first["prediction_id"] != second["prediction_id"]
    third = await infer(plane)  # the other face asks the same
    assert third["parameters"]["cached"] is True
    assert third["outputs"][0]["data"] == pytest.approx(list(first["probabilities"].values()))
    assert len(runtime.ran) == 1
    assert (served.measures.requests, served.measures.rows, served.measures.batches) == (3, 3, 1)
    await plane.shipper.stop(5)
    rows = [row for batch in plane.batches if batch.model_id == "m" for row in batch.rows.to_pylist()]
    assert [(row["route"], row["y:label"], row["x:x"]) for row in rows] == [("route-1.0.0", "dos", [1, 2, 3, 4])] * 3
    ids = [i for batch in plane.batches if batch.model_id == "m" for i in batch.prediction_ids()]
    assert ids == [first["prediction_id"], second["prediction_id"], third["parameters"]["prediction_id"]]


async def test_another_input_another_version_and_a_caller_who_wants_none_are_misses(plane: Plane) -> None:
    one, two = Scripted(1), Scripted(2)
    deploy(plane, "1.0.0", one)
    await predict(plane)
    assert (await predict(plane, 7))["cached"] is False
    assert (await predict(plane, cache=False))["cached"] is False
    assert "cached" not in (await infer(plane, cache=False))["parameters"]
    assert len(one.ran) == 4
    deploy(plane, "2.0.0", two)
    answer = await predict(plane)
    assert (answer["cached"], answer["version"], answer["prediction"]) == (False, "2.0.0", "probe")


async def test_the_routes_decide_before_the_cache_is_looked_at(plane: Plane) -> None:
    runtimes = {"1.0.0": Scripted(1), "2.0.0": Scripted(2)}
    plane.deploy(
        "m",
        {version: (VECTOR, runtime) for version, runtime in runtimes.items()},
        weights={"1.0.0": 50, "2.0.0": 50},
        options=CACHED,
    )
    answers = [await predict(plane) for _ in range(60)]
    assert {(a["version"], a["prediction"]) for a in answers} == {("1.0.0", "dos"), ("2.0.0", "probe")}
    assert sum(not a["cached"] for a in answers) == 2
    assert [len(runtime.ran) for runtime in runtimes.values()] == [1, 1]


async def test_a_request_is_cached_as_a_whole_up_to_a_number_of_rows(plane: Plane) -> None:
    runtime = Scripted()
    deploy(plane, "1.0.0", runtime)
    for rows, cached in ((3, True), (MOST_ROWS, True), (MOST_ROWS + 1, False)):
        await infer(plane, rows)
        again = await infer(plane, rows)
        assert again["parameters"].get("cached", False) is cached
        assert again["outputs"][0]["shape"] == [rows, 3]


async def test_the_servers_ttl_holds_where_the_model_says_nothing(plane: Plane) -> None:
    silent, never = Scripted(), Scripted()
    deploy(plane, "1.0.0", silent, ServingOptions())
    await predict(plane)
    assert (await predict(plane))["cached"] is False
    plane.asking.configure(ServerConfig(cache_ttl=3600))
    await predict(plane)
    assert (await predict(plane))["cached"] is True
    deploy(plane, "2.0.0", never, ServingOptions(cache_ttl_seconds=0))
    await predict(plane)
    assert (await predict(plane))["cached"] is False
    assert (len(silent.ran), len(never.ran)) == (3, 2)


async def test_failures_constants_and_what_the_contract_refuses_are_not_cached(plane: Plane) -> None:
    runtime = Scripted(broken=True)
    plane.deploy("m", {"1.0.0": (VECTOR, runtime)}, options=CACHED, fallback_constant=Constant(prediction="probe"))
    assert (await predict(plane))["fallback_by"] == "constant"
    runtime.broken = False
    answer = await predict(plane)
    assert (answer["cached"], answer["fallback"], answer["prediction"]) == (False, False, "normal")


async def test_what_a_cache_holds_that_can_not_be_right_is_not_answered(plane: Plane) -> None:
    runtime = Scripted(1)
    deploy(plane, "1.0.0", runtime)
    await predict(plane)
    cache = plane.asking.cache
    assert isinstance(cache, MemoryCache)
    (entry,) = cache._entries.values()
    entry.outputs = [entry.outputs[0].repeat(2, axis=0)]
    assert (await predict(plane))["cached"] is False
    entry.outputs = []
    assert (await predict(plane))["prediction"] == "dos"


async def test_a_version_without_an_identity_is_never_cached(plane: Plane) -> None:
    served = deploy(plane, "1.0.0", Scripted())
    served.identity = ""
    await predict(plane)
    assert (await predict(plane))["cached"] is False


@pytest.mark.parametrize("ttl", ["1e999", "1e300", "-1", "31536001"])
def test_a_ttl_that_no_cache_could_keep_is_refused(ttl: str) -> None:
    with pytest.raises(ValidationError, match="cacheTTL"):
        ServerConfig.model_validate_json(f'{{"cacheTTL": {ttl}}}')
