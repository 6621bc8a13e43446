"""Routes at work: canary, sticky keys, shadow, fallback."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.features import Signature
from services.serving.runtime import Array, Runtime, RuntimeFailed
from services.serving.runtime.onnx import OnnxRuntime
from tests.serving_models import VECTOR, vector_model
from tests.unit.serving.conftest import Plane
from tests.waiting import until

Versions = dict[str, tuple[Signature, Runtime]]


class Failing:
    """A model that raises."""

    max_rows: int | None = None
    executor = None
    provider = "none"
    outside_bytes = 0

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        raise RuntimeFailed("the model raised: out of luck")

    def close(self) -> None:
        """Nothing to free."""


class Defective(Failing):
    """A model whose runtime has a defect."""

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        raise KeyError("x")


def working(tmp_path: Path, name: str) -> OnnxRuntime:
    return OnnxRuntime(vector_model(tmp_path / f"{name}.onnx"), VECTOR)


async def predict(plane: Plane, headers: dict[str, str] | None = None, **options: Any) -> tuple[int, dict[str, Any]]:
    body = {"model_id": "m", "input": {"x": [1, 2, 3, 4]}, **options}
    answer = await plane.client.post("/mlops/predict", content=json.dumps(body), headers=headers)
    return answer.status_code, answer.json()


async def test_a_failing_version_falls_back_and_says_so(plane: Plane, tmp_path: Path) -> None:
    versions: Versions = {"2.0.0": (VECTOR, Failing()), "1.0.0": (VECTOR, working(tmp_path, "old"))}
    deployed = plane.deploy("m", versions, fallback="1.0.0")
    status, answer = await predict(plane)
    assert (status, answer["version"], answer["route"], answer["fallback"]) == (200, "1.0.0", "fallback", True)
    assert deployed.versions["2.0.0"].measures.error_count == 1
    assert deployed.versions["1.0.0"].measures.error_count == 0
    await plane.shipper.stop(5)
    rows = [row for batch in plane.batches if batch.model_id == "m" for row in batch.rows.to_pylist()]
    assert [(row["version"], row["route"], row["error"]) for row in rows] == [
        ("2.0.0", "route-2.0.0", "model-failed"),
        ("1.0.0", "fallback", None),
    ]


async def test_a_defect_is_500_and_counted_and_falls_back(plane: Plane, tmp_path: Path) -> None:
    deployed = plane.deploy("m", {"2.0.0": (VECTOR, Defective()), "1.0.0": (VECTOR, working(tmp_path, "old"))})
    status, answer = await predict(plane)
    assert (status, answer["code"]) == (500, "internal")
    assert deployed.versions["2.0.0"].measures.error_count == 1
    plane.deploy("m", {"2.0.0": (VECTOR, Defective()), "1.0.0": (VECTOR, working(tmp_path, "old"))}, fallback="1.0.0")
    status, answer = await predict(plane)
    assert (status, answer["version"], answer["fallback"]) == (200, "1.0.0", True)


async def test_without_a_fallback_the_failure_is_answered_and_logged(plane: Plane) -> None:
    plane.deploy("m", {"2.0.0": (VECTOR, Failing())})
    status, answer = await predict(plane)
    assert (status, answer["code"]) == (500, "model-failed")
    v2 = await plane.client.post(
        "/v2/models/m/infer",
        content=json.dumps({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}),
    )
    assert (v2.status_code, list(v2.json())) == (500, ["error"])


async def test_a_pinned_version_does_not_fall_back(plane: Plane, tmp_path: Path) -> None:
    versions: Versions = {"2.0.0": (VECTOR, Failing()), "1.0.0": (VECTOR, working(tmp_path, "old"))}
    plane.deploy("m", versions, fallback="1.0.0")
    assert (await predict(plane, version="2.0.0"))[0] == 500
    status, answer = await predict(plane, version="1.0.0")
    assert (status, answer["route"]) == (200, "pinned")


async def test_a_shadow_is_logged_and_harms_nobody(plane: Plane, tmp_path: Path) -> None:
    versions: Versions = {"1.0.0": (VECTOR, working(tmp_path, "now")), "2.0.0": (VECTOR, Failing())}
    plane.deploy("m", versions, shadow="2.0.0")
    status, answer = await predict(plane)
    assert (status, answer["version"], answer["fallback"]) == (200, "1.0.0", False)
    await until(lambda: any(batch.model_id == "m" for batch in plane.batches))
    await plane.shipper.stop(5)
    rows = [row for batch in plane.batches if batch.model_id == "m" for row in batch.rows.to_pylist()]
    assert sorted((row["route"], row["error"] or "") for row in rows) == [
        ("route-1.0.0", ""),
        ("shadow", "model-failed"),
    ]


async def test_a_sticky_header_keeps_a_caller_on_one_route(plane: Plane, tmp_path: Path) -> None:
    versions: Versions = {"1.0.0": (VECTOR, working(tmp_path, "a")), "2.0.0": (VECTOR, working(tmp_path, "b"))}
    plane.deploy("m", versions, weights={"1.0.0": 50, "2.0.0": 50}, sticky_key="x-user")
    seen: dict[str, set[str]] = {}
    for i in range(60):
        user = f"user-{i % 12}"
        _, answer = await predict(plane, headers={"X-User": user})
        seen.setdefault(user, set()).add(answer["version"])
    assert all(len(found) == 1 for found in seen.values())
    assert {next(iter(found)) for found in seen.values()} == {"1.0.0", "2.0.0"}


async def test_a_full_log_refuses_predictions(plane: Plane) -> None:
    plane.budget.limit_bytes = 0
    status, answer = await predict(plane, model_id="vector")
    assert (status, answer["code"]) == (503, "overloaded")


async def test_an_unloaded_version_is_unavailable(plane: Plane) -> None:
    plane.catalog.models["vector"].versions["1.0.0"].close()
    status, answer = await predict(plane, model_id="vector")
    assert (status, answer["code"]) == (503, "unavailable")


async def test_before_the_deployments_are_known_nothing_is_said_to_be_missing(plane: Plane) -> None:
    plane.catalog.known = lambda: False
    assert (await predict(plane, model_id="vector", input={"x": [1, 2, 3, 4]}))[0] == 200
    status, answer = await predict(plane)
    assert (status, answer["code"]) == (503, "unavailable")
    plane.catalog.known = lambda: True
    assert (await predict(plane))[0] == 404
