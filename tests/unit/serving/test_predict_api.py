"""`/mlops/predict` and `/mlops/predict/batch`, over real models and a real log."""

import json
import threading
from typing import Any

import msgspec
import pytest

from services.kernel.errors import TooLarge
from services.kernel.settings import Settings
from services.serving.columns import Row
from services.serving.exchange import LARGE_BODY_BYTES, Exchange, Gate
from tests.unit.serving.conftest import Plane

ROW = {"duration": 0.5, "service": "http", "count": 3, "src-bytes": 1.0}


async def ask(plane: Plane, body: Any, path: str = "/mlops/predict") -> tuple[int, dict[str, Any]]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await plane.client.post(path, content=content)
    return answer.status_code, answer.json()


async def test_answers_label_probabilities_and_where_they_come_from(plane: Plane) -> None:
    status, answer = await ask(plane, {"modelId": "table", "input": ROW})
    assert status == 200
    assert answer["prediction"] == "probe"
    assert set(answer["probabilities"]) == {"normal", "dos", "probe"}
    assert sum(answer["probabilities"].values()) == pytest.approx(1.0, abs=1e-6)
    assert (answer["model_id"], answer["version"], answer["route"]) == ("table", "1.0.0", "route-1.0.0")
    assert answer["cached"] is False
    assert answer["fallback"] is False
    assert answer["latency_ms"] > 0


async def test_both_spellings_of_model_id(plane: Plane) -> None:
    _, camel = await ask(plane, {"modelId": "table", "input": ROW})
    _, snake = await ask(plane, {"model_id": "table", "input": ROW})
    assert camel["probabilities"] == snake["probabilities"]


async def test_regression_answers_a_number(plane: Plane) -> None:
    status, answer = await ask(plane, {"model_id": "number", "input": {"a": 1.5, "b": 2}})
    assert (status, answer["prediction"], answer["probabilities"]) == (200, 3.5, None)


async def test_a_nullable_feature_may_be_absent_or_null(plane: Plane) -> None:
    absent = {name: value for name, value in ROW.items() if name != "src-bytes"}
    _, first = await ask(plane, {"model_id": "table", "input": absent})
    _, second = await ask(plane, {"model_id": "table", "input": {**ROW, "src-bytes": None}})
    _, zero = await ask(plane, {"model_id": "table", "input": {**ROW, "src-bytes": 0}})
    assert first["probabilities"] == second["probabilities"] == zero["probabilities"]


async def test_a_vector_model_takes_a_list(plane: Plane) -> None:
    status, answer = await ask(plane, {"model_id": "vector", "input": {"x": [0, 5, 0, 0]}})
    assert (status, answer["prediction"]) == (200, "dos")


async def test_batch_answers_in_order_with_ids_that_count_up(plane: Plane) -> None:
    rows = [{"x": [5, 0, 0, 0]}, {"x": [0, 5, 0, 0]}, {"x": [0, 0, 5, 0]}]
    status, answer = await ask(plane, {"modelId": "vector", "inputs": rows}, "/mlops/predict/batch")
    assert status == 200
    assert [p["prediction"] for p in answer["predictions"]] == ["normal", "dos", "probe"]
    numbers = [int(p["prediction_id"].rpartition("-")[2]) for p in answer["predictions"]]
    assert numbers == [numbers[0], numbers[0] + 1, numbers[0] + 2]


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({"model_id": "table", "input": {**ROW, "extra": 1}}, 422, "extra"),
        ({"model_id": "table", "input": {k: v for k, v in ROW.items() if k != "count"}}, 422, "count"),
        ({"model_id": "table", "input": {**ROW, "count": "three"}}, 422, "count"),
        ({"model_id": "table", "input": {**ROW, "count": 3.5}}, 422, "count"),
        ({"model_id": "table", "input": {**ROW, "count": 2**63}}, 422, "count"),
        ({"model_id": "table", "input": {**ROW, "duration": True}}, 422, "duration"),
        ({"model_id": "table", "input": {**ROW, "duration": None}}, 422, "duration"),
        ({"model_id": "table", "input": {**ROW, "duration": 1e39}}, 422, "duration"),
        ({"model_id": "table", "input": {**ROW, "service": 5}}, 422, "service"),
        ({"model_id": "table", "input": {**ROW, "service": "\ud800"}}, 400, "Unicode"),
        ({"model_id": "table", "input": {**ROW, "\ud800": 1}}, 400, "Unicode"),
        ({"model_id": "table", "input": ROW, "priority": "\ud800"}, 400, "Unicode"),
        ({"model_id": "table", "input": {**ROW, "service": "x" * (1 << 20)}}, 422, "service"),
        ({"model_id": "table", "input": {**ROW, "service": "é" * 32769}}, 422, "service"),
        ({"model_id": "table", "input": {**ROW, "service": "ht\0tp"}}, 422, "service"),
        ({"model_id": "table", "input": ROW, "versoin": "1.0.0"}, 422, "versoin"),
        (b'{"model_id": "table", "input": {"duration": NaN}, "versoin": "1.0.0"}', 422, "versoin"),
        ({"model_id": "table", "input": [1, 2]}, 422, "object"),
        ({"model_id": "table"}, 422, "input"),
        ({"input": ROW}, 422, "modelId"),
        ({"model_id": 5, "input": ROW}, 422, "model_id"),
        ({"model_id": "vector", "input": {"x": [1, 2, 3]}}, 422, "'x'"),
        ({"model_id": "vector", "input": {"x": [1, 2, 3, "a"]}}, 422, "'x'"),
        ({"model_id": "nobody", "input": ROW}, 404, "nobody"),
        ({"model_id": "table", "version": "9.9.9", "input": ROW}, 404, "9.9.9"),
        ({"model_id": "table", "explain": {"method": "tarot"}, "input": ROW}, 422, "method"),
        ({"model_id": "table", "explain": "yes", "input": ROW}, 422, "explain"),
        (b'{"model_id": "table", "input": {"duration": NaN, "service": "", "count": 1}}', 422, "duration"),
        (b'{"model_id": "table", "input": {"duration": -Infinity, "service": "", "count": 1}}', 422, "duration"),
        (b'{"model_id": "table", "input": {"duration": 1e999, "service": "", "count": 1}}', 422, "duration"),
        (b'{"model_id": "table", "input": {"duration": 1', 400, "JSON"),
        (b"", 400, "JSON"),
        (b'{"model_id": "table", "input": "\xff"}', 400, "JSON"),
        (b'{"model_id": "table", "input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "nested"),
        (b"[1, 2]", 422, "object"),
    ],
)
async def test_bad_input_is_refused_by_name(plane: Plane, body: Any, status: int, names: str) -> None:
    got, answer = await ask(plane, body)
    assert (got, names in answer["detail"]) == (status, True), answer
    assert answer["status"] == status
    assert answer["code"]


async def test_a_text_as_long_as_allowed_is_taken(plane: Plane) -> None:
    status, _ = await ask(plane, {"model_id": "table", "input": {**ROW, "service": "é" * 32768}})
    assert status == 200


async def test_an_integer_written_as_a_float_is_taken(plane: Plane) -> None:
    status, _ = await ask(plane, {"model_id": "table", "input": {**ROW, "count": 3.0}})
    assert status == 200


async def test_an_unknown_field_of_a_batch_is_named(plane: Plane) -> None:
    body = {"modelId": "number", "inputs": [{"a": 1, "b": 1}], "timeoutMs": 1000, "top_k": 3}
    status, answer = await ask(plane, body, "/mlops/predict/batch")
    assert (status, "top_k" in answer["detail"], "timeoutMs" in answer["detail"]) == (422, True, False)


async def test_a_bad_row_of_a_batch_is_named_by_its_place(plane: Plane) -> None:
    rows = [{"a": 1, "b": 1}, {"a": 1, "b": "x"}]
    status, answer = await ask(plane, {"model_id": "number", "inputs": rows}, "/mlops/predict/batch")
    assert status == 422
    assert "inputs[1]" in answer["detail"]


@pytest.mark.parametrize(("inputs", "status"), [([], 422), ([{"a": 1, "b": 2}] * 1001, 413), ("x", 422)])
async def test_batch_bounds(plane: Plane, inputs: Any, status: int) -> None:
    got, _ = await ask(plane, {"model_id": "number", "inputs": inputs}, "/mlops/predict/batch")
    assert got == status


async def test_every_answer_is_in_the_log_as_it_was_given(plane: Plane) -> None:
    _, answer = await ask(plane, {"model_id": "table", "input": ROW})
    await ask(plane, {"model_id": "table", "input": {**ROW, "oops": 1}})
    await plane.shipper.stop(5)
    batch = next(b for b in plane.batches if b.model_id == "table")
    assert batch.prediction_ids() == [answer["prediction_id"]]
    row = batch.rows.to_pylist()[0]
    assert row["y:label"] == answer["prediction"]
    assert row["y:probabilities"] == list(answer["probabilities"].values())
    assert {name: row[f"x:{name}"] for name in ROW} == ROW
    assert (row["version"], row["route"], row["error"]) == ("1.0.0", "route-1.0.0", None)
    assert sum((b.skew.get("oops", 0) for b in plane.batches if b.model_id == "table"), 0) == 1


async def test_foreign_host_origin_kind_and_size_are_refused(plane: Plane) -> None:
    content = json.dumps({"model_id": "number", "input": {"a": 1, "b": 2}}).encode()
    refused: tuple[tuple[Any, int], ...] = (
        ({"host": "evil.example"}, 400),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://["}, 403),
        ({b"origin": b"http://\xe4"}, 403),
        ({"content-type": "application/x-pickle"}, 415),
        ({"content-encoding": "br"}, 415),
        ({"content-length": str(1 << 40)}, 413),
    )
    for headers, status in refused:
        answer = await plane.client.post("/mlops/predict", content=content, headers=headers)
        assert answer.status_code == status, headers


async def test_a_body_whose_length_was_not_said_is_bounded_even_in_one_piece() -> None:
    scope = {"type": "http", "method": "POST", "headers": [(b"host", b"127.0.0.1")]}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b" " * (1025), "more_body": False}

    async def send(message: Any) -> None:
        raise AssertionError(message)

    exchange = Exchange(scope, receive, send, Gate(Settings(max_body_bytes=1024)))
    exchange.check()
    with pytest.raises(TooLarge):
        await exchange.body()


async def test_other_paths_are_handed_on(plane: Plane) -> None:
    assert (await plane.client.get("/mlops/health")).text == "not a prediction"
    assert (await plane.client.get("/v2x")).text == "not a prediction"


@pytest.mark.parametrize("path", ["/mlops/predict", "/mlops/predict/batch", "/mlops/explain"])
async def test_another_method_than_post_is_405(plane: Plane, path: str) -> None:
    answer = await plane.client.put(path, content=b"{}")
    assert (answer.status_code, answer.headers["allow"], answer.json()["code"]) == (405, "POST", "method-not-allowed")


def large_batch(rows: int = 1000, letters: int = 400) -> dict[str, Any]:
    return {"model_id": "table", "inputs": [{**ROW, "count": i, "service": "s" * letters} for i in range(rows)]}


@pytest.mark.parametrize("letters", [1, 400], ids=["of many rows", "of many bytes"])
async def test_a_large_batch_does_not_hold_the_event_loop(
    plane: Plane, monkeypatch: pytest.MonkeyPatch, letters: int
) -> None:
    threads: set[int] = set()
    reader = plane.catalog.models["table"].versions["1.0.0"].reader
    read = reader.read

    def noting(raw: bytes | msgspec.Raw) -> Row:
        threads.add(threading.get_ident())
        return read(raw)

    monkeypatch.setattr(reader, "read", noting)
    body = large_batch(letters=letters)
    status, answer = await ask(plane, body, "/mlops/predict/batch")
    assert status == 200
    assert threads
    assert threading.get_ident() not in threads
    _, single = await ask(plane, {"model_id": "table", "input": body["inputs"][7]})
    assert answer["predictions"][7]["probabilities"] == single["probabilities"]
    numbers = [int(p["prediction_id"].rpartition("-")[2]) for p in answer["predictions"]]
    assert numbers == list(range(numbers[0], numbers[0] + 1000))
    body["inputs"][3]["count"] = "three"
    status, answer = await ask(plane, body, "/mlops/predict/batch")
    assert status == 422
    assert "inputs[3]" in answer["detail"]


async def test_a_large_row_does_not_hold_the_event_loop(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    reader = plane.catalog.models["vector"].versions["1.0.0"].reader
    read = reader.read

    def noting(raw: bytes | msgspec.Raw) -> Row:
        threads.append(threading.get_ident())
        return read(raw)

    monkeypatch.setattr(reader, "read", noting)
    spaces = " " * (LARGE_BODY_BYTES - 100)
    for values, status in (("[1, 0, 0, 0]", 200), (f"[{'1, ' * 100_000}1]", 422)):
        body = f'{{"modelId": "vector", {spaces} "input": {{"x": {values}}}}}'.encode()
        assert (await ask(plane, body))[0] == status
    assert (threads[0] == threading.get_ident(), threads[1] == threading.get_ident()) == (True, False)


async def test_a_version_is_held_while_a_large_batch_is_read_for_it(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = plane.catalog.models["table"].versions["1.0.0"]
    read = served.reader.read
    idle: list[bool] = []

    def noting(raw: bytes | msgspec.Raw) -> Row:
        idle.append(served.idle)
        return read(raw)

    monkeypatch.setattr(served.reader, "read", noting)
    status, _ = await ask(plane, large_batch(), "/mlops/predict/batch")
    assert (status, set(idle)) == (200, {False})
    assert served.idle
