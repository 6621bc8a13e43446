"""From a request to its answer: timeouts, circuits, the chain of fallbacks, the shadow."""

import asyncio
import json
import struct
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.serving_options import Circuit, Constant, LogPolicy, ServingOptions
from services.serving.predlog import Syncer
from services.serving.runtime import Array, Runtime
from services.serving.segments import Segment
from services.serving.served import ServedVersion
from tests.serving_models import CLASSES, VECTOR
from tests.unit.serving.conftest import Plane
from tests.unit.serving.scripted import Scripted
from tests.waiting import until

ROW = [1, 2, 3, 4]

pytestmark = pytest.mark.usefixtures("settled")


async def predict(plane: Plane, model_id: str = "m", first: float = 1, **said: Any) -> tuple[int, dict[str, Any]]:
    body = {"modelId": model_id, "input": {"x": [first, 2, 3, 4]}, **said}
    answer = await plane.client.post("/mlops/predict", content=json.dumps(body))
    return answer.status_code, {**answer.json(), "retry_after": answer.headers.get("retry-after")}


async def infer(plane: Plane, model_id: str = "m", **said: Any) -> tuple[int, dict[str, Any]]:
    body = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": ROW}], **said}
    answer = await plane.client.post(f"/v2/models/{model_id}/infer", content=json.dumps(body))
    return answer.status_code, answer.json()


def deploy(plane: Plane, versions: dict[str, Scripted], model_id: str = "m", **more: Any) -> dict[str, ServedVersion]:
    """Versions that are known to be slow, so that they run in a thread."""
    given: dict[str, tuple[Signature, Runtime]] = {version: (VECTOR, runtime) for version, runtime in versions.items()}
    deployed = plane.deploy(model_id, given, **more)
    for served in deployed.versions.values():
        served.batcher.learn(1, 1.0)
    return deployed.versions


async def queued(served: ServedVersion, rows: int) -> None:
    await until(lambda: served.batcher.queued_rows == rows, what=f"{rows} rows in the queue")


def circuit(served: ServedVersion) -> str:
    assert served.breaker is not None
    return served.breaker.state


async def logged(plane: Plane, model_id: str = "m") -> list[tuple[str, str, str | None, str | None]]:
    """(version, route, error, label) of the log's rows so far."""
    await plane.shipper.stop(5)
    rows = [row for batch in plane.batches if batch.model_id == model_id for row in batch.rows.to_pylist()]
    return [(row["version"], row["route"], row["error"], row["y:label"]) for row in rows]


async def test_a_request_that_takes_too_long_is_503_and_logged_as_a_failure(plane: Plane) -> None:
    runtime = Scripted()
    served = deploy(plane, {"1.0.0": runtime})["1.0.0"]
    runtime.gate.clear()
    status, answer = await predict(plane, timeoutMs=30)
    assert (status, answer["code"], answer["retry_after"]) == (503, "timed-out", "2")
    status, answer = await infer(plane, parameters={"timeout": 30_000})
    assert (status, "no answer within" in answer["error"]) == (503, True)
    runtime.gate.set()
    await served.batcher.drained()
    assert runtime.ran == [1.0]  # the second one was dropped from the queue
    assert served.measures.errors == {"timed-out": 2}
    assert await logged(plane) == [("1.0.0", "route-1.0.0", "timed-out", None)] * 2


async def test_a_disk_that_is_late_does_not_log_a_request_twice(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = threading.Event()
    monkeypatch.setattr(Segment, "sync", lambda segment: disk.wait(20))
    served = deploy(plane, {"1.0.0": Scripted()})["1.0.0"]
    served._syncer = Syncer()
    status, answer = await predict(plane, timeoutMs=50)
    disk.set()
    assert (status, answer["code"], served.measures.errors) == (503, "timed-out", {"timed-out": 1})
    assert (await predict(plane))[0] == 200
    assert await logged(plane) == [("1.0.0", "route-1.0.0", None, "normal")] * 2


async def test_the_models_own_timeout_holds_for_all(plane: Plane) -> None:
    runtime = Scripted()
    deploy(plane, {"1.0.0": runtime}, options=ServingOptions(timeout_ms=30))
    runtime.gate.clear()
    status, answer = await predict(plane)
    assert (status, answer["code"]) == (503, "timed-out")
    runtime.gate.set()


async def test_answers_that_wait_for_the_disk_do_not_wait_for_large_bodies(plane: Plane) -> None:
    read = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    reading = asyncio.ensure_future(asyncio.to_thread(read.wait, 20))
    deploy(plane, {"1.0.0": Scripted()})["1.0.0"]._syncer = Syncer()
    assert (await predict(plane))[0] == 200
    assert not reading.done()
    read.set()
    await reading


async def test_a_model_that_is_on_its_way_is_waited_for_no_longer_than_the_request_may_take(plane: Plane) -> None:
    loaded = asyncio.Event()

    async def bring(model_id: str) -> None:
        await loaded.wait()
        if model_id not in plane.catalog.models:
            deploy(plane, {"1.0.0": Scripted()}, model_id)

    plane.catalog.bring = bring
    status, answer = await predict(plane, timeoutMs=30)
    assert (status, answer["code"]) == (503, "timed-out")
    assert (await infer(plane, parameters={"timeout": 30_000}))[0] == 503
    waiting = asyncio.ensure_future(predict(plane, timeoutMs=60_000))
    await asyncio.sleep(0)
    loaded.set()
    assert (await waiting)[0] == 200


async def test_one_who_waits_longer_is_not_harmed_by_one_who_does_not(plane: Plane) -> None:
    runtime = Scripted()
    served = deploy(plane, {"1.0.0": runtime})["1.0.0"]
    runtime.gate.clear()
    first = asyncio.ensure_future(predict(plane, first=1))
    await until(lambda: served.batcher.busy)
    both = [
        asyncio.ensure_future(predict(plane, first=2, timeoutMs=30)),
        asyncio.ensure_future(predict(plane, first=3)),
    ]
    assert (await both[0])[0] == 503
    runtime.gate.set()
    assert [(await one)[0] for one in (first, both[1])] == [200, 200]
    assert runtime.ran == [1.0, 3.0]


async def test_high_goes_before_normal_before_low(plane: Plane) -> None:
    runtime = Scripted()
    served = deploy(plane, {"1.0.0": runtime}, options=ServingOptions(batch_rows=1))["1.0.0"]
    runtime.gate.clear()
    asked = [asyncio.ensure_future(predict(plane, first=0))]
    await until(lambda: served.batcher.busy)
    for place, priority in enumerate(("low", "normal", "high"), 1):
        asked.append(asyncio.ensure_future(predict(plane, first=place, priority=priority)))
        await queued(served, place)
    runtime.gate.set()
    assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 4
    assert runtime.ran == [0.0, 3.0, 2.0, 1.0]


async def test_a_full_queue_says_honestly_when_to_come_back_and_gives_way_to_higher_priority(plane: Plane) -> None:
    runtime = Scripted()
    options = ServingOptions(batch_rows=1, queue_rows=3)
    served = deploy(plane, {"1.0.0": runtime}, options=options)["1.0.0"]
    for _ in range(100):
        served.batcher.learn(1, 2.0)
    runtime.gate.clear()
    asked = [asyncio.ensure_future(predict(plane))]
    await until(lambda: served.batcher.busy)
    for place in range(3):
        asked.append(asyncio.ensure_future(predict(plane, priority="low")))
        await queued(served, place + 1)
    expected = served.batcher.seconds_until_idle()
    assert expected == pytest.approx(4 * served.batcher.expected_seconds(1))
    status, answer = await predict(plane, priority="low")
    assert (status, answer["code"], answer["retry_after"]) == (503, "overloaded", str(-int(-expected // 1)))
    urgent = asyncio.ensure_future(predict(plane, priority="high"))
    status, answer = await asked.pop()
    assert (status, answer["code"]) == (503, "overloaded")
    assert "higher priority" in answer["detail"]
    assert served.batcher.queue.displaced == 1
    assert served.measures.errors == {"overloaded": 2}
    runtime.gate.set()
    assert [status for status, _ in await asyncio.gather(urgent, *asked)] == [200] * 4


async def test_limits_of_the_model_hold_and_may_change_without_a_reload(plane: Plane) -> None:
    deployed = plane.deploy("m", {"1.0.0": (VECTOR, Scripted())}, options=ServingOptions(request_rows=2))
    rows = [{"x": ROW}] * 3
    body = json.dumps({"modelId": "m", "inputs": rows})
    assert (await plane.client.post("/mlops/predict/batch", content=body)).status_code == 413
    deployed.versions["1.0.0"].apply(ServingOptions())
    assert (await plane.client.post("/mlops/predict/batch", content=body)).status_code == 200


# fallbacks


async def test_the_chain_goes_from_version_to_model_to_constant(plane: Plane) -> None:
    new, old, other = Scripted(0, broken=True), Scripted(1), Scripted(2)
    deploy(plane, {"1.0.0": other}, "other")
    chain: dict[str, Any] = {
        "fallback": "1.0.0",
        "fallback_model": "other",
        "fallback_constant": Constant(prediction="normal"),
    }
    deploy(plane, {"2.0.0": new, "1.0.0": old}, **chain)
    told = []
    for broken in (old, other, None):
        _, answer = await predict(plane)
        keys = ("prediction", "model_id", "version", "route", "fallback", "fallback_by")
        told.append(tuple(answer[key] for key in keys))
        if broken is not None:
            broken.broken = True
    assert told == [
        ("dos", "m", "1.0.0", "fallback", True, "version"),
        ("probe", "other", "1.0.0", "fallback", True, "model"),
        ("normal", "m", "2.0.0", "fallback", True, "constant"),
    ]
    assert dict(plane.asking.fell_back) == {("m", "version"): 1, ("m", "model"): 1, ("m", "constant"): 1}
    assert await logged(plane) == [
        ("2.0.0", "route-2.0.0", "model-failed", None),
        ("1.0.0", "fallback", None, "dos"),
        ("2.0.0", "route-2.0.0", "model-failed", None),
        ("1.0.0", "fallback", "model-failed", None),
        ("2.0.0", "route-2.0.0", "model-failed", None),
        ("1.0.0", "fallback", "model-failed", None),
        ("2.0.0", "fallback", None, "normal"),
    ]
    assert await logged(plane, "other") == [
        ("1.0.0", "fallback", None, "probe"),
        ("1.0.0", "fallback", "model-failed", None),
    ]


async def test_a_constant_is_answered_in_the_shapes_of_the_model(plane: Plane) -> None:
    probabilities = {"normal": 0.2, "dos": 0.7, "probe": 0.1}
    constant = Constant(prediction="dos", probabilities=probabilities)
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_constant=constant)
    status, answer = await infer(plane)
    assert status == 200
    assert answer["parameters"]["fallback"] is True
    assert answer["parameters"]["fallback_by"] == "constant"
    assert answer["outputs"][0]["data"] == pytest.approx(list(probabilities.values()))
    body = {"modelId": "m", "inputs": [{"x": ROW}] * 3}
    many = (await plane.client.post("/mlops/predict/batch", content=json.dumps(body))).json()["predictions"]
    assert [one["prediction"] for one in many] == ["dos"] * 3
    assert len({one["prediction_id"] for one in many}) == 3


async def test_a_constant_does_not_make_bad_input_good(plane: Plane) -> None:
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_constant=Constant(prediction="dos"))
    raw = b"\x00\x00\xc0\x7f" * 4  # NaN
    head = json.dumps(
        {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "parameters": {"binary_data_size": 16}}]}
    ).encode()
    answer = await plane.client.post(
        "/v2/models/m/infer", content=head + raw, headers={"Inference-Header-Content-Length": str(len(head))}
    )
    assert answer.status_code == 400


@pytest.mark.parametrize("constant", [Constant(prediction="unknown"), Constant(prediction=3.5)])
async def test_a_constant_that_is_no_answer_of_the_model_is_none(plane: Plane, constant: Constant) -> None:
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_constant=constant)
    status, answer = await predict(plane)
    assert (status, answer["code"]) == (500, "model-failed")


async def test_a_model_with_other_inputs_does_not_stand_in(plane: Plane) -> None:
    other = Signature(inputs=(Feature(name="x", dtype=VECTOR.inputs[0].dtype, shape=(3,)),), outputs=VECTOR.outputs)
    runtime = Scripted()
    plane.deploy("other", {"1.0.0": (other.model_copy(update={"classes": CLASSES}), runtime)})
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_model="other")
    assert (await predict(plane))[0] == 500
    assert runtime.ran == []


@pytest.mark.parametrize(("shown", "status"), [({"x": "hash"}, 500), ({"x": "drop"}, 200), ({}, 500)])
async def test_a_fallback_model_whose_log_shows_what_this_ones_hides_is_not_asked(
    plane: Plane, shown: dict[str, Any], status: int
) -> None:
    stand_in = Scripted()
    deploy(plane, {"1.0.0": stand_in}, "other", options=ServingOptions(log=LogPolicy(redact=shown)))
    hiding = ServingOptions(log=LogPolicy(redact={"x": "drop"}))
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_model="other", options=hiding)
    assert (await predict(plane))[0] == status
    assert len(stand_in.ran) == (status == 200)


@pytest.mark.parametrize("model_id", ["nobody", "m"])
async def test_a_fallback_model_that_is_not_there_or_is_itself_changes_nothing(plane: Plane, model_id: str) -> None:
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_model=model_id)
    status, answer = await predict(plane)
    assert (status, answer["code"]) == (500, "model-failed")


async def test_models_that_fall_back_to_each_other_do_not_go_round(plane: Plane) -> None:
    one, two = Scripted(broken=True), Scripted(broken=True)
    deploy(plane, {"1.0.0": one}, "one", fallback_model="two")
    deploy(plane, {"1.0.0": two}, "two", fallback_model="one")
    assert (await predict(plane, "one"))[0] == 500
    assert (len(one.ran), len(two.ran)) == (1, 1)


async def test_a_slow_version_falls_back(plane: Plane) -> None:
    slow = Scripted(0)
    options = ServingOptions(timeout_ms=30)
    versions = deploy(plane, {"2.0.0": slow, "1.0.0": Scripted(1)}, fallback="1.0.0", options=options)
    versions["1.0.0"].batcher.learn(1, 0.0)
    for _ in range(100):
        versions["1.0.0"].batcher.learn(1, 0.0)  # it runs on the event loop: the one thread is taken
    slow.gate.clear()
    status, answer = await predict(plane)
    assert (status, answer["prediction"], answer["fallback_by"]) == (200, "dos", "version")
    slow.gate.set()


async def test_when_the_callers_own_time_is_over_only_a_constant_still_answers(plane: Plane) -> None:
    slow, old = Scripted(0), Scripted(1)
    deploy(
        plane,
        {"2.0.0": slow, "1.0.0": old},
        fallback="1.0.0",
        fallback_constant=Constant(prediction="probe"),
        options=ServingOptions(circuit=Circuit(failures=1)),
    )
    slow.gate.clear()
    status, answer = await predict(plane, timeoutMs=30)
    assert (status, answer["prediction"], answer["fallback_by"]) == (200, "probe", "constant")
    slow.gate.set()
    assert old.ran == []
    assert (
        circuit(plane.catalog.models["m"].versions["2.0.0"]) == "closed"
    )  # a caller in a hurry says nothing of the version


# circuits


async def test_an_open_circuit_is_503_at_once_and_closes_by_one_good_try(plane: Plane) -> None:
    runtime = Scripted(broken=True)
    options = ServingOptions(circuit=Circuit(failures=2, open_seconds=60))
    served = deploy(plane, {"1.0.0": runtime}, options=options)["1.0.0"]
    assert [(await predict(plane))[0] for _ in range(2)] == [500, 500]
    status, answer = await predict(plane)
    assert (status, answer["code"], answer["retry_after"]) == (503, "circuit-open", "60")
    assert (await infer(plane))[0] == 503
    assert len(runtime.ran) == 2
    runtime.broken = False
    assert served.breaker is not None
    served.breaker.rule = Circuit(failures=2, open_seconds=1e-9)
    assert (await predict(plane))[0] == 200
    assert circuit(served) == "closed"


async def test_an_open_circuit_falls_back_without_asking(plane: Plane) -> None:
    new = Scripted(0, broken=True)
    options = ServingOptions(circuit=Circuit(failures=1, open_seconds=60))
    deploy(plane, {"2.0.0": new, "1.0.0": Scripted(1)}, fallback="1.0.0", options=options)
    answers = [(await predict(plane))[1] for _ in range(3)]
    assert [answer["prediction"] for answer in answers] == ["dos"] * 3
    assert len(new.ran) == 1


async def test_the_models_own_timeout_opens_the_circuit_and_bad_input_does_not(plane: Plane) -> None:
    runtime = Scripted()
    options = ServingOptions(timeout_ms=30, circuit=Circuit(failures=1, open_seconds=60))
    served = deploy(plane, {"1.0.0": runtime}, options=options)["1.0.0"]
    assert (await predict(plane, first=float("nan")))[0] in (400, 422)
    assert circuit(served) == "closed"
    runtime.gate.clear()
    assert (await predict(plane))[1]["code"] == "timed-out"
    assert circuit(served) == "open"
    runtime.gate.set()


async def test_a_circuit_outlives_a_change_of_routes(plane: Plane) -> None:
    options = ServingOptions(circuit=Circuit(failures=1, open_seconds=60))
    served = deploy(plane, {"1.0.0": Scripted(broken=True)}, options=options)["1.0.0"]
    await predict(plane)
    served.apply(ServingOptions(circuit=Circuit(failures=9, open_seconds=60)))
    assert circuit(served) == "open"
    served.apply(ServingOptions())
    assert served.breaker is None


# shadows


async def test_the_answer_leaves_before_the_shadow_runs(plane: Plane) -> None:
    seen: list[str] = []

    class Noting(Scripted):
        def run(self, feed: Any, rows: int) -> Any:
            seen.append("shadow")
            return super().run(feed, rows)

    shadow = Noting(1)
    deployed = plane.deploy("m", {"1.0.0": (VECTOR, Scripted()), "2.0.0": (VECTOR, shadow)}, shadow="2.0.0")
    for _ in range(50):
        deployed.versions["2.0.0"].batcher.learn(1, 1e-6)  # short enough for the event loop
    body = json.dumps({"modelId": "m", "input": {"x": ROW}}).encode()
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen.append(message["type"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mlops/predict",
        "headers": [(b"host", b"127.0.0.1:3006"), (b"content-type", b"application/json")],
    }
    await plane.app(scope, receive, send)
    await until(lambda: "shadow" in seen)
    assert seen == ["http.response.start", "http.response.body", "shadow"]
    assert shadow.threads == ["MainThread"]


async def test_a_shadow_that_hangs_neither_slows_nor_fails_an_answer(plane: Plane) -> None:
    shadow = Scripted(1)
    plane.asking.shadows._limit_rows = 3
    deployed = plane.deploy("m", {"1.0.0": (VECTOR, Scripted()), "2.0.0": (VECTOR, shadow)}, shadow="2.0.0")
    shadow.gate.clear()
    for _ in range(10):  # nothing is known of its time yet, so it runs in a thread
        status, answer = await predict(plane)
        assert (status, answer["route"]) == (200, "route-1.0.0")
    assert deployed.versions["2.0.0"].shadow_rows == 3
    assert plane.asking.shadows.skipped == 7
    shadow.gate.set()
    await until(lambda: deployed.versions["2.0.0"].shadow_rows == 0)
    rows = await logged(plane)
    assert rows.count(("2.0.0", "shadow", None, "dos")) == 3
    assert rows.count(("1.0.0", "route-1.0.0", None, "normal")) == 10
    assert "MainThread" not in shadow.threads


async def test_a_pinned_request_has_no_shadow_and_an_unloaded_shadow_is_skipped(plane: Plane) -> None:
    shadow = Scripted(1)
    deployed = plane.deploy("m", {"1.0.0": (VECTOR, Scripted()), "2.0.0": (VECTOR, shadow)}, shadow="2.0.0")
    assert (await predict(plane, version="1.0.0"))[0] == 200
    assert plane.asking.shadows.skipped == 0
    deployed.versions["2.0.0"].close()
    assert (await predict(plane))[0] == 200
    assert plane.asking.shadows.skipped == 1
    assert shadow.ran == []


# sticky keys


async def test_a_feature_decides_the_same_through_both_faces(plane: Plane) -> None:
    """Whether its value is written as 3, as 3.0 or in four bytes."""
    number = plane.catalog.models["number"].versions["1.0.0"]
    both: dict[str, tuple[Signature, Runtime]] = {
        version: (number.signature, number._runtime) for version in ("1.0.0", "2.0.0")
    }
    plane.deploy("n", both, weights={"1.0.0": 50, "2.0.0": 50}, sticky_key="a")

    async def named(value: float) -> str:
        body = {"modelId": "n", "input": {"a": value, "b": 1}}
        answer = await plane.client.post("/mlops/predict", content=json.dumps(body))
        return str(answer.json()["route"])

    async def by_tensors(value: float, raw: bytes) -> str:
        data: dict[str, Any] = {"parameters": {"binary_data_size": 4}} if raw else {}
        inputs = [
            {"name": name, "shape": [1, 1], "datatype": "FP32", **(data or {"data": [of]})}
            for name, of in (("b", 1), ("a", value))
        ]
        head = json.dumps({"inputs": inputs}).encode()
        headers = {"Inference-Header-Content-Length": str(len(head))} if raw else {}
        answer = await plane.client.post("/v2/models/n/infer", content=head + raw, headers=headers)
        return str(answer.json()["parameters"]["route"])

    seen = set()
    for value in (0, 1, 2, 3, 0.1, 0.2, 0.3, 7.5):
        routes = {await named(value), await named(float(value)), await by_tensors(value, b"")}
        routes.add(await by_tensors(value, struct.pack("<ff", 1, value)))
        assert len(routes) == 1, value
        seen |= routes
    assert len(seen) == 2


async def test_a_key_that_is_no_unicode_is_no_defect(plane: Plane) -> None:
    deploy(plane, {"1.0.0": Scripted(), "2.0.0": Scripted()}, weights={"1.0.0": 50, "2.0.0": 50}, sticky_key="user")
    user = {"name": "user", "shape": [1], "datatype": "BYTES", "data": ["\ud800"]}
    assert (await predict(plane, user="x"))[0] == 422
    assert (await infer(plane, inputs=[user]))[0] == 400


@pytest.mark.parametrize("rows", [1, 2])
async def test_what_the_fallback_model_does_not_take_is_answered_by_the_constant(plane: Plane, rows: int) -> None:
    deploy(plane, {"1.0.0": Scripted(broken=True)}, fallback_model="f", fallback_constant=Constant(prediction="dos"))
    deploy(plane, {"1.0.0": Scripted()}, "f", options=ServingOptions(request_rows=1))
    body = {"modelId": "m", "inputs": [{"x": ROW}] * rows}
    answer = (await plane.client.post("/mlops/predict/batch", content=json.dumps(body))).json()
    assert {line["fallback_by"] for line in answer["predictions"]} == {"model" if rows == 1 else "constant"}
    assert len(answer["predictions"]) == rows


class Wordy(Scripted):
    """Answers with a label, which is none of the model's classes where the first feature is 5 or more."""

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `Scripted`."""
        return [np.array([["dos" if value < 5 else "odd"] for value in feed["x"][:, 0]], dtype=object)]


async def test_an_answer_that_can_not_be_read_fails_its_own_request_alone(plane: Plane) -> None:
    label = Output(name="label", dtype=DType.STRING, shape=(1,), role=OutputRole.LABEL)
    plane.deploy("m", {"1.0.0": (VECTOR.model_copy(update={"outputs": (label,)}), Wordy())})
    answers = await asyncio.gather(*(predict(plane, first=first) for first in (1, 7, 2)))
    assert [status for status, _ in answers] == [200, 500, 200]
    assert [answer.get("prediction") for _, answer in answers] == ["dos", None, "dos"]
    assert [(error, label) for *_, error, label in await logged(plane)] == [
        (None, "dos"),
        ("model-failed", None),
        (None, "dos"),
    ]


class Unsure(Scripted):
    """Answers NaN where the first feature is 5 or more."""

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `Scripted`."""
        (probabilities,) = super().run(feed, rows)
        probabilities[feed["x"][:, 0] >= 5, 1] = np.nan
        return [probabilities]


async def test_no_class_is_answered_where_the_model_has_none(plane: Plane) -> None:
    plane.deploy("m", {"1.0.0": (VECTOR, Unsure()), "2.0.0": (VECTOR, Scripted(2))}, fallback="2.0.0")
    answers = await asyncio.gather(*(predict(plane, first=first) for first in (1, 7, 2)))
    assert [(answer["prediction"], answer["version"]) for _, answer in answers] == [
        ("normal", "1.0.0"),
        ("probe", "2.0.0"),
        ("normal", "1.0.0"),
    ]
    assert ("1.0.0", "route-1.0.0", "model-failed", None) in await logged(plane)
