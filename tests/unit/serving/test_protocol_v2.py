"""Open Inference Protocol V2 over real models."""

import asyncio
import json
import struct
import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from schemas.features import DType
from services.serving import tensors
from services.serving.runtime import Array
from services.serving.v2.answers import encode_answer
from tests.serving_models import VECTOR
from tests.unit.serving.conftest import Plane
from tests.unit.serving.scripted import Scripted

X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0, 5.0, 0.0, 0.0]}


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


async def infer(plane: Plane, body: Any, model: str = "vector") -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await plane.client.post(f"/v2/models/{model}/infer", content=content)
    return answer.status_code, answer.json()


async def test_infer_echoes_the_id_and_describes_outputs(plane: Plane) -> None:
    status, answer = await infer(plane, {"id": "42", "inputs": [X]})
    assert status == 200
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("42", "vector", "1.0.0")
    (output,) = answer["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("probabilities", [1, 3], "FP32")
    assert int(np.argmax(output["data"])) == 1
    assert answer["parameters"]["route"] == "route-1.0.0"


async def test_flat_and_nested_data_agree(plane: Plane) -> None:
    flat = {**X, "shape": [2, 4], "data": [1, 2, 3, 4, 5, 6, 7, 8]}
    nested = {**X, "shape": [2, 4], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    _, first = await infer(plane, {"inputs": [flat]})
    _, second = await infer(plane, {"inputs": [nested]})
    assert first["outputs"] == second["outputs"]
    assert first["outputs"][0]["shape"] == [2, 3]


async def test_a_table_takes_one_tensor_a_feature(plane: Plane) -> None:
    inputs = [
        {"name": "duration", "shape": [2, 1], "datatype": "FP32", "data": [0.5, 9.0]},
        {"name": "service", "shape": [2], "datatype": "BYTES", "data": ["http", "smtp"]},
        {"name": "count", "shape": [2, 1], "datatype": "INT64", "data": [[3], [0]]},
    ]
    status, answer = await infer(plane, {"inputs": inputs}, "table")
    assert status == 200
    labels = np.array(answer["outputs"][0]["data"]).reshape(2, 3).argmax(axis=1)
    assert labels.tolist() == [2, 0]


async def test_binary_in_and_out(plane: Plane) -> None:
    raw = np.array([[0, 0, 7, 0], [7, 0, 0, 0]], dtype="<f4").tobytes()
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    answer = await plane.client.post(
        "/v2/models/vector/infer",
        content=head + raw,
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/octet-stream"
    length = int(answer.headers["inference-header-content-length"])
    document = json.loads(answer.content[:length])
    assert document["outputs"][0]["parameters"]["binary_data_size"] == len(answer.content) - length == 24
    assert np.frombuffer(answer.content[length:], dtype="<f4").reshape(2, 3).argmax(axis=1).tolist() == [2, 0]


async def test_binary_strings(plane: Plane) -> None:
    text = b"".join(struct.pack("<I", len(s)) + s for s in (b"http",))
    inputs = [
        {"name": "duration", "shape": [1, 1], "datatype": "FP32", "data": [0.5]},
        {"name": "service", "shape": [1, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(text)}},
        {"name": "count", "shape": [1, 1], "datatype": "INT64", "data": [3]},
    ]
    head = json.dumps({"inputs": inputs}).encode()
    for content, status in ((head + text, 200), (head + text + b"x", 400), (head + text[:-1], 400)):
        answer = await plane.client.post(
            "/v2/models/table/infer", content=content, headers={"Inference-Header-Content-Length": str(len(head))}
        )
        assert answer.status_code == status, answer.text


@pytest.mark.parametrize("text", ["x" * 65537, "ht\0tp"])
async def test_a_text_too_long_or_with_nul_is_refused_by_name(plane: Plane, text: str) -> None:
    inputs = [
        {"name": "duration", "shape": [1, 1], "datatype": "FP32", "data": [0.5]},
        {"name": "service", "shape": [1, 1], "datatype": "BYTES", "data": [text]},
        {"name": "count", "shape": [1, 1], "datatype": "INT64", "data": [3]},
    ]
    status, answer = await infer(plane, {"inputs": inputs}, "table")
    assert (status, "'service'" in answer["error"]) == (400, True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"inputs": [',
        b"[" * 100_000,
        {"inputs": []},
        {"inputs": [X, X]},
        {"inputs": [{**X, "name": "y"}]},
        {"inputs": [{**X, "datatype": "FP64"}]},
        {"inputs": [{**X, "datatype": "FLOAT"}]},
        {"inputs": [{**X, "shape": [2, 4]}]},
        {"inputs": [{**X, "shape": [-1, 4]}]},
        {"inputs": [{**X, "shape": [2**62, 4]}]},
        {"inputs": [{**X, "shape": []}]},
        {"inputs": [{**X, "shape": [0, 4], "data": []}]},
        {"inputs": [{**X, "data": [1, 2, 3]}]},
        {"inputs": [{**X, "data": [1, 2, 3, None]}]},
        {"inputs": [{**X, "data": [1, 2, 3, "4"]}]},
        {"inputs": [{**X, "data": [1, 2, 3, 1e39]}]},
        b'{"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, NaN]}]}',
        {"inputs": [{**X, "parameters": {"binary_data_size": 16}}]},
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32"}]},
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": -1}}]},
        {"inputs": [X], "outputs": [{"name": "nothing"}]},
        {"inputs": [X], "outputs": [{"name": "probabilities"}, {"name": "probabilities"}]},
        {"inputs": [{**X, "datatype": "BF16"}]},
        {"inputs": [{**X, "shape": [2] * 300_000}]},
        {"inputs": [{**X, "shape": [10**400, 4]}]},
        {"inputs": [{**X, "shape": [True, 4]}]},
        {"inputs": [X], "outputs": [{"name": "probabilities", "parameters": {"binary_data": "yes"}}]},
        {"inputs": [X], "outputs": [{"name": "probabilities", "parameters": {"classification": -1}}]},
        {"inputs": [X], "outputs": [{"name": "probabilities", "parameters": {"classification": "3"}}]},
        {"inputs": [X], "parameters": {"binary_data_output": 1}},
        {"inputs": [X], "parameters": {"deep": nested(120)}},
        {"inputs": [{**X, "deep": nested(120)}]},
        {"inputs": [X], "id": "\ud800"},
        {"inputs": [X], "id": 7},
        {"inputs": "x"},
        {},
    ],
)
async def test_bad_requests_are_400_and_harm_nobody(plane: Plane, body: Any) -> None:
    status, answer = await infer(plane, body)
    assert status == 400
    assert list(answer) == ["error"]
    assert (await infer(plane, {"inputs": [X]}))[0] == 200


@pytest.mark.parametrize("length", ["0", "-1", "99999", "x", "9" * 30])
async def test_a_binary_header_out_of_range(plane: Plane, length: str) -> None:
    answer = await plane.client.post(
        "/v2/models/vector/infer", content=b"{}", headers={"Inference-Header-Content-Length": length}
    )
    assert answer.status_code == 400


async def test_what_means_nothing_is_let_pass(plane: Plane) -> None:
    """Unknown parameters and fields, parameters that other servers know, query parameters, no Content-Type."""
    odd = {"content_type": "np", "deep": nested(50), "x": None}
    body = {
        "inputs": [{**X, "parameters": odd, "extra": {"a": [1]}}],
        "outputs": [{"name": "probabilities", "parameters": odd, "extra": 1}],
        "parameters": {**odd, "sequence_id": 1, "priority": 2},
        "timeout": 5,
    }
    request = plane.client.build_request("POST", "/v2/models/vector/infer?a=1&b=%ff", content=json.dumps(body))
    assert "content-type" not in request.headers
    answer = await plane.client.send(request)
    assert answer.status_code == 200, answer.text


async def test_an_output_without_requests_is_all_of_them(plane: Plane) -> None:
    outputs: list[Any] | None
    for outputs in ([], None):
        status, answer = await infer(plane, {"inputs": [X], "outputs": outputs, "parameters": None, "id": None})
        assert (status, len(answer["outputs"])) == (200, 1)


@pytest.mark.parametrize("where", ["inputs", "outputs"])
async def test_shared_memory_is_not_built(plane: Plane, where: str) -> None:
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 16}
    given = {"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": region}
    body: dict[str, Any] = {"inputs": [given if where == "inputs" else X]}
    if where == "outputs":
        body["outputs"] = [{"name": "probabilities", "parameters": region}]
    status, answer = await infer(plane, body)
    assert (status, "shared memory" in answer["error"]) == (501, True)


async def test_classification_answers_with_the_best_classes(plane: Plane) -> None:
    x = {**X, "shape": [2, 4], "data": [0, 5, 0, 0, 9, 0, 3, 0]}
    for classes in (2, 100):
        wanted = [{"name": "probabilities", "parameters": {"classification": classes}}]
        status, answer = await infer(plane, {"inputs": [x], "outputs": wanted})
        (output,) = answer["outputs"]
        columns = min(classes, 3)
        assert (status, output["datatype"], output["shape"]) == (200, "BYTES", [2, columns])
        texts = [text.split(":") for text in output["data"]]
        assert [text[1:] for text in texts[::columns]] == [["1", "dos"], ["0", "normal"]]
        assert texts[columns + 1][1:] == ["2", "probe"]
        assert float(texts[0][0]) > 0.9


async def test_health_and_metadata(plane: Plane) -> None:
    assert (await plane.client.get("/v2/health/live")).json() == {"live": True, "ready": True}
    assert (await plane.client.get("/v2/health/ready")).status_code == 200
    assert (await plane.client.get("/v2")).json()["name"] == "trimtab"
    document = (await plane.client.get("/v2/models/table")).json()
    assert document["versions"] == ["1.0.0"]
    assert document["inputs"][1] == {"name": "service", "datatype": "BYTES", "shape": [-1, 1]}
    assert (await plane.client.get("/v2/models/table/versions/1.0.0/ready")).json()["ready"] is True


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/models/nobody", 404),
        ("GET", "/v2/models/table/versions/2.0.0", 404),
        ("POST", "/v2/models/nobody/infer", 404),
        ("GET", "/v2/repository/index", 405),
        ("POST", "/v2/repository/anything", 404),
        ("POST", "/v2/repository/models/nobody/load", 400),
        ("GET", "/v2/models/nobody/stats", 404),
        ("GET", "/v2/models/nobody/config", 404),
        ("GET", "/v2/models/table/versions/2.0.0/stats", 404),
        ("GET", "/v2/models/table/versions/2.0.0/config", 404),
        ("POST", "/v2/models/table/stats", 405),
        ("GET", "/v2/models/table/anything", 404),
        ("GET", "/v2/nothing", 404),
        ("DELETE", "/v2/models/table/infer", 405),
        ("GET", "/v2/models/table/versions/1.0.0/infer", 405),
        ("POST", "/v2/models/table", 405),
        ("POST", "/v2/health/live", 405),
    ],
)
async def test_what_is_not_there(plane: Plane, method: str, path: str, status: int) -> None:
    answer = await plane.client.request(method, path, content=json.dumps({"inputs": [X]}))
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert ("allow" in answer.headers) == (status == 405)


async def test_statistics_count_what_ran(plane: Plane) -> None:
    for rows in (1, 1, 3):
        x = {**X, "shape": [rows, 4], "data": [0.5] * 4 * rows}
        assert (await infer(plane, {"inputs": [x]}))[0] == 200
    assert (await infer(plane, {"inputs": []}))[0] == 400
    (entry,) = (await plane.client.get("/v2/models/vector/versions/1.0.0/stats")).json()["model_stats"]
    assert (entry["name"], entry["version"]) == ("vector", "1.0.0")
    assert (entry["inference_count"], entry["execution_count"]) == (5, 3)
    stats = entry["inference_stats"]
    assert (stats["success"]["count"], stats["fail"]["count"]) == (3, 1)
    stages = ("queue", "compute_input", "compute_infer", "compute_output")
    assert all(stats[stage]["count"] == 3 and stats[stage]["ns"] > 0 for stage in stages)
    assert sum(stats[stage]["ns"] for stage in stages) <= stats["success"]["ns"]
    assert stats["fail"]["ns"] > 0
    assert [(b["batch_size"], b["compute_infer"]["count"]) for b in entry["batch_stats"]] == [(1, 2), (3, 1)]
    assert sum(b["compute_infer"]["ns"] for b in entry["batch_stats"]) == pytest.approx(
        stats["compute_infer"]["ns"], abs=3
    )
    assert abs(entry["last_inference"] / 1000 - time.time()) < 5
    everything = (await plane.client.get("/v2/models/stats")).json()["model_stats"]
    assert [entry["name"] for entry in everything] == ["number", "table", "vector"]
    assert everything[0]["last_inference"] == everything[0]["inference_stats"]["success"]["count"] == 0


async def test_a_batch_counts_its_time_for_each_of_its_requests(plane: Plane) -> None:
    await asyncio.gather(*(infer(plane, {"inputs": [X]}) for _ in range(8)))
    (entry,) = (await plane.client.get("/v2/models/vector/stats")).json()["model_stats"]
    assert entry["inference_stats"]["compute_infer"]["count"] == 8
    weighted = sum(b["batch_size"] * b["compute_infer"]["ns"] for b in entry["batch_stats"])
    assert entry["inference_stats"]["compute_infer"]["ns"] == pytest.approx(weighted, abs=20)


async def test_config_describes_a_version(plane: Plane) -> None:
    config = (await plane.client.get("/v2/models/table/config")).json()
    assert config == (await plane.client.get("/v2/models/table/versions/1.0.0/config")).json()
    assert (config["name"], config["platform"], config["backend"]) == ("table", "onnx_onnxv1", "onnxruntime")
    assert config["max_batch_size"] == 100_000
    assert config["version_policy"] == {"specific": {"versions": ["1.0.0"]}}
    types = {entry["name"]: (entry["data_type"], entry["dims"], entry["optional"]) for entry in config["input"]}
    assert types["service"] == ("TYPE_STRING", [1], False)
    assert types["src-bytes"] == ("TYPE_FP32", [1], True)
    assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [3]}]
    assert config["parameters"]["classes"] == {"string_value": "normal,dos,probe"}


async def test_an_encoded_name_is_decoded(plane: Plane) -> None:
    answer = await plane.client.get("/v2/models/t%61ble")
    assert answer.json()["name"] == "table"


async def test_a_model_that_is_loading_is_unavailable(plane: Plane) -> None:
    plane.catalog.loading["soon"] = "version 1.0.0 is being fetched"
    answer = await plane.client.post("/v2/models/soon/infer", content=json.dumps({"inputs": [X]}))
    assert answer.status_code == 503
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("rows", "binary", "aside"), [(1, False, False), (100, False, False), (9000, False, True), (9000, True, False)]
)
async def test_large_json_answers_are_encoded_beside_the_event_loop(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, rows: int, binary: bool, aside: bool
) -> None:
    threads: set[int] = set()

    def noting(*given: Any) -> Any:
        threads.add(threading.get_ident())
        return encode_answer(*given)

    monkeypatch.setattr("services.serving.v2.infer.encode_answer", noting)
    raw = np.zeros((rows, 4), dtype="<f4").tobytes()
    x = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [x], "parameters": {"binary_data_output": binary}}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    answer = await plane.client.post("/v2/models/vector/infer", content=head + raw, headers=headers)
    assert answer.status_code == 200
    assert (threads != {threading.get_ident()}) == aside


async def test_large_tensors_are_read_beside_the_event_loop(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: set[int] = set()
    read = tensors.Expected.from_json

    def noting(expected: tensors.Expected, rows: int, raw: Any) -> Any:
        threads.add(threading.get_ident())
        return read(expected, rows, raw)

    monkeypatch.setattr(tensors.Expected, "from_json", noting)
    x = {"name": "x", "shape": [30_000, 4], "datatype": "FP32", "data": [0.5, 0.0, 7.0, 0.0] * 30_000}
    status, answer = await infer(plane, {"inputs": [x]})
    assert (status, answer["outputs"][0]["shape"]) == (200, [30_000, 3])
    assert threads
    assert threading.get_ident() not in threads


class Halves(Scripted):
    """Answers in FP16."""

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `Scripted`."""
        return [output.astype(np.float16) for output in super().run(feed, rows)]


async def test_an_answer_that_json_does_not_have_is_refused_before_it_is_made(plane: Plane) -> None:
    (output,) = VECTOR.outputs
    halves = output.model_copy(update={"dtype": DType.FLOAT16})
    runtime = Halves()
    plane.deploy("halves", {"1.0.0": (VECTOR.model_copy(update={"outputs": (halves,)}), runtime)})

    async def asked(**parameters: Any) -> int:
        outputs = [{"name": "probabilities", "parameters": parameters}] if parameters else None
        body = {"inputs": [X]} | ({"outputs": outputs} if outputs else {})
        return (await plane.client.post("/v2/models/halves/infer", content=json.dumps(body))).status_code

    assert [await asked(), await asked(binary_data=False)] == [400, 400]
    assert runtime.ran == []
    assert [await asked(binary_data=True), await asked(classification=1)] == [200, 200]
