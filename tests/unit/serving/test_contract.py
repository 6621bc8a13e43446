"""The input contract: what is refused, what is mended and marked, on both faces; and nobody else is harmed."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.predictions import PredictionBatch
from schemas.serving_options import InputContract, ServingOptions
from services.kernel.errors import InvalidInput
from services.serving.runtime.onnx import OnnxRuntime
from services.serving.tensors import converted
from tests import serving_models
from tests.unit.serving.conftest import Plane
from tests.waiting import until

BOUNDED = Signature(
    inputs=(
        Feature(name="duration", dtype=DType.FLOAT32, filler=0.5, minimum=0.1, maximum=60),
        Feature(name="service", dtype=DType.STRING, categories=("http", "smtp")),
        Feature(name="count", dtype=DType.INT64, minimum=0, maximum=100),
        Feature(name="src-bytes", dtype=DType.FLOAT32, nullable=True, minimum=0),
    ),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
    classes=serving_models.CLASSES,
)
GOOD: dict[str, Any] = {"duration": 1.0, "service": "http", "count": 2, "src-bytes": 3.0}
FLAG_ALL = InputContract(unexpected="flag", missing="flag", type="flag", range="flag", category="flag")
REJECT_ALL = InputContract(unexpected="reject", missing="reject", type="reject", range="reject", category="reject")
WRONG: dict[str, tuple[dict[str, Any], str, str]] = {
    "out of range": ({"count": 101}, "count", "count:range"),
    "no such category": ({"service": "gopher"}, "service", "service:category"),
    "unexpected": ({"colour": "red"}, "colour", "colour:unexpected"),
    "missing": ({"duration": None}, "duration", "duration:missing"),
    "a text for a number": ({"duration": "3.5"}, "duration", "duration:type"),
    "a boolean for an integer": ({"count": True}, "count", "count:type"),
    "a text for an integer": ({"count": "3.0"}, "count", "count:type"),
    "a number for a text": ({"service": 7}, "service", "service:type,service:category"),
}


@pytest.fixture
async def bounded(plane: Plane, tmp_path: Path) -> Plane:
    """The plane with the model `bounded`."""
    runtime = OnnxRuntime(serving_models.table_model(tmp_path / "bounded.onnx"), BOUNDED)
    plane.deploy("bounded", {"1.0.0": (BOUNDED, runtime)})
    return plane


def keep(plane: Plane, contract: InputContract) -> None:
    plane.catalog.models["bounded"].versions["1.0.0"].apply(ServingOptions(inputs=contract))


async def ask(plane: Plane, **changes: object) -> httpx.Response:
    row = {name: value for name, value in {**GOOD, **changes}.items() if value is not None}
    return await plane.client.post("/mlops/predict", json={"modelId": "bounded", "input": row})


async def infer(plane: Plane, changes: Mapping[str, object], *, binary: bool = False) -> httpx.Response:
    """One row by protocol V2, of the datatypes that the values have."""
    kinds: dict[type, str] = {float: "FP32", str: "BYTES", int: "INT64", bool: "BOOL"}
    inputs: list[dict[str, Any]] = []
    raw = b""
    for name, value in {**GOOD, **changes}.items():
        if value is None:
            continue
        tensor: dict[str, Any] = {"name": name, "shape": [1, 1], "datatype": kinds[type(value)]}
        if binary:
            if isinstance(value, str):
                part = len(value.encode()).to_bytes(4, "little") + value.encode()
            else:
                part = np.array(value, dtype=np.float32 if isinstance(value, float) else None).tobytes()
            tensor["parameters"] = {"binary_data_size": len(part)}
            raw += part
        else:
            tensor["data"] = [value]
        inputs.append(tensor)
    head = json.dumps({"inputs": inputs}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))} if binary else {}
    return await plane.client.post("/v2/models/bounded/infer", content=head + raw, headers=headers)


async def logged(plane: Plane, rows: int) -> list[dict[str, Any]]:
    """The rows of the model in the log, once there are `rows`."""

    def own() -> list[PredictionBatch]:
        return [batch for batch in plane.batches if batch.model_id == "bounded"]

    await until(lambda: sum(batch.rows.num_rows for batch in own()) >= rows, 5, "the rows are shipped")
    return [row for batch in own() for row in batch.rows.to_pylist()]


@pytest.mark.parametrize("case", WRONG, ids=str)
async def test_a_clause_refuses_and_names_the_feature(bounded: Plane, case: str) -> None:
    changes, name, _ = WRONG[case]
    keep(bounded, REJECT_ALL)
    answer = await ask(bounded, **changes)
    assert (answer.status_code, list(answer.json()["features"])) == (422, [name])
    for binary in (False, True):
        answer = await infer(bounded, changes, binary=binary)
        assert answer.status_code == 400
        assert name in answer.json()["error"]


@pytest.mark.parametrize("case", WRONG, ids=str)
async def test_a_clause_marks_and_answers(bounded: Plane, case: str) -> None:
    changes, _, flags = WRONG[case]
    keep(bounded, FLAG_ALL)
    answers = [
        await ask(bounded, **changes),
        await infer(bounded, changes),
        await infer(bounded, changes, binary=True),
        await ask(bounded),
    ]
    assert [answer.status_code for answer in answers] == [200] * 4, [answer.text for answer in answers]
    rows = await logged(bounded, 4)
    assert [row.get("flags") for row in rows] == [flags, flags, flags, None]


async def test_a_name_that_no_log_can_hold_harms_nobody_in_the_batch(bounded: Plane) -> None:
    keep(bounded, FLAG_ALL)
    half = "\ud800"
    inputs = [{"name": half, "shape": [1, 1], "datatype": "FP32", "data": [1]}]
    by_name, by_tensors, good = await asyncio.gather(
        bounded.client.post("/mlops/predict", content=json.dumps({"modelId": "bounded", "input": {**GOOD, half: 1}})),
        bounded.client.post("/v2/models/bounded/infer", content=json.dumps({"inputs": inputs})),
        ask(bounded),
    )
    assert (by_name.status_code, by_tensors.status_code, good.status_code) == (400, 400, 200)
    assert "Unicode" in by_name.json()["detail"]
    assert "Unicode" in by_tensors.json()["error"]


async def test_what_is_mended_is_logged_as_the_model_saw_it(bounded: Plane) -> None:
    keep(bounded, FLAG_ALL)
    await ask(bounded, duration=None, count="4", service=8)
    (row,) = await logged(bounded, 1)
    assert (row["x:duration"], row["x:count"], row["x:service"]) == (0.5, 4, "8")
    assert row["flags"] == "duration:missing,service:type,count:type,service:category"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"count": "3.5"}, "integer"),
        ({"count": 3.5}, "integer"),
        ({"count": "0x10"}, "number"),
        ({"count": " 3"}, "number"),
        ({"count": "1e400"}, "not a number that a model takes"),
        ({"count": "9" * 101}, "number"),
        ({"count": [3]}, "number"),
        ({"service": {"a": 1}}, "string"),
        ({"service": 10**400}, "string"),
        ({"service": None}, "no filler that could stand for it"),
    ],
)
async def test_what_can_not_be_mended_is_refused(bounded: Plane, changes: dict[str, object], why: str) -> None:
    keep(bounded, FLAG_ALL)
    answer = await ask(bounded, **changes)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


async def test_defaults_refuse_kinds_and_mark_values(bounded: Plane) -> None:
    assert (await ask(bounded, colour="red")).status_code == 422
    assert (await ask(bounded, count="3")).status_code == 422
    assert (await ask(bounded, duration=61.0, service="gopher")).status_code == 200
    (row,) = await logged(bounded, 1)
    assert row["flags"] == "duration:range,service:category"


async def test_a_bound_that_is_met_is_kept_and_a_missing_value_is_in_order(bounded: Plane) -> None:
    keep(bounded, REJECT_ALL)
    assert (await ask(bounded, duration=0.1, count=100, **{"src-bytes": 0.0})).status_code == 200
    assert (await ask(bounded, **{"src-bytes": None})).status_code == 200
    answer = await ask(bounded, **{"src-bytes": -1.0, "count": -1})
    assert answer.json()["features"] == {
        "src-bytes": "is -1.0, but must be at least 0",
        "count": "is -1, but must be at least 0 and at most 100",
    }


async def test_a_long_value_is_not_echoed(bounded: Plane) -> None:
    keep(bounded, REJECT_ALL)
    for changes in ({"service": "s3cret" * 1000}, {"count": "s3cret" * 1000}):
        answer = await ask(bounded, **changes)
        assert answer.status_code == 422
        assert len(answer.text) < 1000


async def test_one_request_out_of_range_harms_no_other(bounded: Plane) -> None:
    keep(bounded, REJECT_ALL)
    answers = await asyncio.gather(*(ask(bounded, count=i % 2 * 500) for i in range(40)))
    assert [answer.status_code for answer in answers] == [200, 422] * 20
    rows = await logged(bounded, 20)
    assert [row["x:count"] for row in rows] == [0] * 20
    batches = [batch for batch in bounded.batches if batch.model_id == "bounded"]
    assert sum(batch.skew.get("count", 0) for batch in batches) == 20


async def test_marked_values_are_no_schema_skew(bounded: Plane) -> None:
    keep(bounded, FLAG_ALL)
    await asyncio.gather(ask(bounded, count=500), ask(bounded, service="gopher"), ask(bounded, colour="red"))
    await logged(bounded, 3)
    skew = [batch.skew for batch in bounded.batches if batch.model_id == "bounded" and batch.skew]
    assert skew == [{"colour": 1}]


async def test_a_row_of_many_is_named_and_the_request_refused(bounded: Plane) -> None:
    keep(bounded, REJECT_ALL)
    body = {"modelId": "bounded", "inputs": [GOOD, GOOD, {**GOOD, "count": 500}]}
    answer = await bounded.client.post("/mlops/predict/batch", json=body)
    assert answer.status_code == 422
    assert "'count' is 500 in row 2, but must be at least 0 and at most 100" in answer.json()["detail"]
    keep(bounded, FLAG_ALL)
    assert (await bounded.client.post("/mlops/predict/batch", json=body)).status_code == 200
    large = {**body, "inputs": [GOOD, {**GOOD, "count": "3"}] * 500, "version": "1.0.0"}
    text = json.dumps(large, indent=40)
    assert len(text) > 256 << 10
    answer = await bounded.client.post(
        "/mlops/predict/batch", content=text, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 200
    rows = await logged(bounded, 1003)
    assert [row.get("flags") for row in rows][:5] == [None, None, "count:range", None, "count:type"]
    assert sum(row.get("flags") == "count:type" for row in rows) == 500


async def test_a_shadow_marks_its_own_rows_once(bounded: Plane, tmp_path: Path) -> None:
    runtimes = [OnnxRuntime(serving_models.table_model(tmp_path / f"{i}.onnx"), BOUNDED) for i in range(2)]
    bounded.deploy("bounded", {"1.0.0": (BOUNDED, runtimes[0]), "2.0.0": (BOUNDED, runtimes[1])}, shadow="2.0.0")
    assert (await infer(bounded, {"count": 500})).status_code == 200
    rows = await logged(bounded, 2)
    assert {(row["route"], row["flags"]) for row in rows} == {
        ("route-1.0.0", "count:range"),
        ("shadow", "count:range"),
    }


def test_arrays_are_converted_only_without_loss() -> None:
    count, duration = BOUNDED.inputs[2], BOUNDED.inputs[0]
    assert converted(count, np.array([3.0, 4.0])).tolist() == [3, 4]
    assert converted(duration, np.array([0.1])).dtype == np.float32
    assert converted(count, np.array(["5", "6"], dtype=object)).tolist() == [5, 6]
    for feature, values in (
        (count, np.array([3.5])),
        (count, np.array([np.nan])),
        (count, np.array([np.inf])),
        (count, np.array([2**63], dtype=np.uint64)),
        (duration, np.array([2**24 + 1])),
        (duration, np.array([1e300])),
        (count, np.array(["five"], dtype=object)),
    ):
        with pytest.raises(InvalidInput, match=feature.name):
            converted(feature, values)
