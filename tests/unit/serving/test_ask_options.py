"""What a caller may say beside the input: the same through both faces, and refused when it makes no sense."""

import json
from typing import Any

import pytest

from services.kernel.errors import InvalidInput
from services.serving.ask_options import PLAIN, AskOptions, from_parameters
from services.serving.queue import Priority
from tests.unit.serving.conftest import Plane

X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        (None, PLAIN),
        ({"binary_data_output": True}, PLAIN),
        ({"timeout": 0, "priority": 0, "cache": True}, PLAIN),
        ({"timeout": 250_000}, AskOptions(timeout_seconds=0.25)),
        ({"priority": 1}, AskOptions(priority=Priority.HIGH)),
        ({"priority": 2}, AskOptions(priority=Priority.NORMAL)),
        ({"priority": 3}, AskOptions(priority=Priority.LOW)),
        ({"priority": 2**63}, AskOptions(priority=Priority.LOW)),
        ({"cache": False}, AskOptions(cache=False)),
    ],
)
def test_parameters_of_the_protocol(parameters: dict[str, Any] | None, options: AskOptions) -> None:
    assert from_parameters(parameters, None) == options
    pinned = from_parameters(parameters, "1.0.0")
    assert (pinned.version, pinned.priority, pinned.cache) == ("1.0.0", options.priority, options.cache)


BAD_PARAMETERS: list[tuple[str, Any]] = [
    ("timeout", -1),
    ("timeout", 1.5),
    ("timeout", "1000"),
    ("timeout", True),
    ("timeout", 3_600_000_001),
    ("priority", -1),
    ("priority", "high"),
    ("priority", 1 << 64),
    ("priority", False),
    ("cache", 1),
    ("cache", "no"),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
async def test_bad_parameters_are_400_and_named(plane: Plane, name: str, value: Any) -> None:
    with pytest.raises(InvalidInput, match=name):
        from_parameters({name: value}, None)
    body = {"inputs": [X], "parameters": {name: value}}
    answer = await plane.client.post("/v2/models/vector/infer", content=json.dumps(body))
    assert (answer.status_code, name in answer.json()["error"]) == (400, True)


BAD_FIELDS: list[tuple[str, Any]] = [
    ("timeoutMs", 0),
    ("timeoutMs", -5),
    ("timeoutMs", 3_600_001),
    ("timeoutMs", "100"),
    ("timeout_ms", True),
    ("priority", "urgent"),
    ("priority", 1),
    ("cache", "yes"),
    ("cache", 0),
]


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("name", "value"), BAD_FIELDS)
async def test_bad_fields_are_422(plane: Plane, name: str, value: Any, many: bool) -> None:
    row = {"x": [1, 2, 3, 4]}
    body = {"modelId": "vector", name: value} | ({"inputs": [row]} if many else {"input": row})
    path = "/mlops/predict/batch" if many else "/mlops/predict"
    answer = await plane.client.post(path, content=json.dumps(body))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input"), answer.text


async def test_good_ones_are_taken_by_both_faces(plane: Plane) -> None:
    body = {"modelId": "vector", "timeoutMs": 5000, "priority": "high", "cache": False, "version": "1.0.0"}
    for path, given in (
        ("/mlops/predict", {"input": {"x": [1, 2, 3, 4]}}),
        ("/mlops/predict/batch", {"inputs": [{"x": [1, 2, 3, 4]}]}),
    ):
        answer = await plane.client.post(path, content=json.dumps(body | given))
        assert answer.status_code == 200, answer.text
    parameters = {"timeout": 5_000_000, "priority": 1, "cache": False}
    answer = await plane.client.post(
        "/v2/models/vector/versions/1.0.0/infer", content=json.dumps({"inputs": [X], "parameters": parameters})
    )
    assert (answer.status_code, answer.json()["parameters"]["route"]) == (200, "pinned")
