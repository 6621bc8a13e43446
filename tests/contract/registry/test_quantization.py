"""Versions served by smaller graphs: made once, measured, accepted within a bound, kept as long as they may serve."""

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pytest
from sklearn.compose import ColumnTransformer
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from schemas.base import StrictDocument
from schemas.events import DeploymentWanted
from services.kernel.artifacts import blob_key
from services.registry.keeping import garbage
from services.registry.quantization.quantizer import RUNS
from services.registry.settings import RegistrySettings
from services.registry.tables import quantizations
from tests.contract.registry.conftest import Registry, running
from tests.contract.registry.leftovers import collector, keys
from tests.contract.registry.test_retention import archive, dropped, policy
from tests.graphs import classifier
from tests.quantized import feed, network, rows, sample
from tests.waiting import until
from trimtab.backup.named import in_databases
from trimtab.conversion.version_folder import convert

MODEL = "threat-classifier"
URL = f"/mlops/deployments/{MODEL}"
SAMPLE = {"baseline.parquet": sample()}


async def version(
    registry: Registry, *stages: str, graph: onnx.ModelProto | None = None, files: dict[str, bytes] | None = None
) -> str:
    """A version with something to shrink, in production unless `stages` say otherwise."""
    answer = await registry.register(graph=graph or network(), files=SAMPLE if files is None else files)
    assert answer.status_code == 201, answer.text
    number = str(answer.json()["version"])
    for stage in stages or ("staging", "production"):
        assert (await registry.promote(number, stage)).status_code == 200
    return number


def made() -> float:
    """Children that made and measured a graph so far."""
    return float(RUNS.labels("measured")._value.get())


def graph_of(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 202, answer.text
    return dict(answer.json()["routes"][0]["quantized"])


@pytest.mark.parametrize("kind", ["int8", "fp16"])
async def test_a_smaller_graph_serves_in_place_of_the_version_s_own(registry: Registry, kind: str) -> None:
    await version(registry)
    own = network().SerializeToString()
    graph = graph_of(await registry.deploy(quantize=kind))
    data = registry.store.get_bytes(blob_key(graph["sha256"]))
    assert hashlib.sha256(data).hexdigest() == graph["sha256"]
    report = graph["report"]
    assert (len(data), report["bytes_before"], report["rows"]) == (graph["size"], len(own), 400)
    assert (report["metric"], report["kind"], report["bound"]) == ("disagreement", kind, 0.01)
    assert report["bytes_after"] == graph["size"] < 0.7 * len(own)
    before, after = (onnxruntime.InferenceSession(model).run(None, feed(rows()))[0] for model in (own, data))
    assert report["loss"] == (before.argmax(axis=1) != after.argmax(axis=1)).mean() <= 0.01
    assert report["max_difference"] == pytest.approx(np.abs(before - after).max(), abs=1e-6)
    assert report["seconds_before"] > 0
    listed = (await registry.client.get("/mlops/deployments")).json()["deployments"][0]
    assert listed["routes"][0]["quantized"] == graph
    (event,) = await registry.events(DeploymentWanted)
    assert event.routes[0].quantized.sha256 == graph["sha256"]


async def test_the_truth_in_the_sample_is_used(registry: Registry) -> None:
    answers = onnxruntime.InferenceSession(network().SerializeToString()).run(None, feed(rows()))[0]
    truth = answers.argmax(axis=1).astype(str).astype(object)
    await version(registry, files={"baseline.parquet": sample(label=truth)})
    report = graph_of(await registry.deploy(quantize="int8", quantizeMaxLoss=0.05))["report"]
    assert (report["metric"], report["bound"]) == ("accuracy", 0.05)


async def test_the_same_is_made_once(registry: Registry) -> None:
    number = await version(registry)
    before = made()
    answers = await asyncio.gather(*(registry.deploy(quantize="int8") for _ in range(6)))
    assert len({graph_of(answer)["sha256"] for answer in answers}) == 1
    assert made() == before + 1
    await registry.deploy(version=number, quantize="none")
    assert (await registry.client.get(URL)).json()["routes"][0]["quantized"] is None
    again = graph_of(await registry.deploy(quantize="int8", quantize_max_loss=0.02))
    assert (again["sha256"], again["report"]["bound"]) == (graph_of(answers[0])["sha256"], 0.02)
    assert made() == before + 1
    registry.store.delete(blob_key(again["sha256"]))
    assert graph_of(await registry.deploy(quantize="int8"))["sha256"] == again["sha256"], "the same bytes once more"
    registry.store.put_bytes(blob_key(again["sha256"]), b"x" * again["size"])
    await registry.deploy(quantize="int8", reason="repair")
    data = registry.store.get_bytes(blob_key(again["sha256"]))
    assert hashlib.sha256(data).hexdigest() == again["sha256"], "what was damaged is put right"
    assert made() == before + 3


async def test_what_loses_too_much_is_refused_with_the_report(registry: Registry) -> None:
    await version(registry, graph=network(fragile=True))
    refused = await registry.deploy(quantize="int8")
    assert (refused.status_code, refused.json()["code"]) == (409, "not-quantized")
    report = refused.json()["report"]
    assert report["loss"] > 0.2
    assert (report["bound"], report["rows"], report["metric"]) == (0.01, 400, "disagreement")
    assert "try fp16, accept more with `quantize_max_loss`, or deploy it as it is" in refused.json()["detail"]
    assert (await registry.client.get(URL)).status_code == 404
    before = made()
    accepted = graph_of(await registry.deploy(quantize="int8", quantize_max_loss=report["loss"]))
    assert accepted["report"]["bound"] == report["loss"]
    assert made() == before, "what was measured is remembered"


async def test_what_cannot_be_measured_or_shrunk_is_refused(registry: Registry) -> None:
    lacking = await version(registry, "staging", files={})
    small = await registry.register(graph=classifier(), files=SAMPLE)
    other = await registry.register(graph=network(2), files={"baseline.parquet": sample_without("protocol")})
    for answer in (small, other):
        await registry.promote(answer.json()["version"], "staging")
    cases = [
        (lacking, "int8", "has no baseline sample (baseline.parquet)"),
        (lacking, "fp16", "train it here, register the fitted model"),
        (small.json()["version"], "int8", "none that gets smaller"),
        (other.json()["version"], "int8", "lacks the features protocol"),
    ]
    for number, kind, says in cases:
        answer = await registry.deploy(version=number, quantize=kind)
        assert (answer.status_code, answer.json()["code"]) == (409, "not-quantized"), answer.text
        assert says in answer.json()["detail"]
    wrong = await registry.deploy(version=lacking, quantize="int4")
    assert wrong.status_code == 422
    assert (await registry.deploy(version=lacking, quantize="int8", quantize_max_loss=2)).status_code == 422
    draft = await registry.register(graph=network(5), files=SAMPLE)
    early = await registry.deploy(version=draft.json()["version"], quantize="int8")
    assert early.status_code == 409
    assert "is a draft" in early.json()["detail"]


def sample_without(name: str) -> bytes:
    from schemas.baseline_sample import write_baseline_sample

    return write_baseline_sample({column: values for column, values in rows().items() if column != name})


async def test_a_graph_stays_with_its_version(registry: Registry) -> None:
    first = await version(registry)
    second = await version(registry, "staging", graph=network(3))
    graph = graph_of(await registry.deploy(quantize="int8"))
    canary = (await registry.deploy(version=second, canary=10)).json()
    assert [route["quantized"] is not None for route in canary["routes"]] == [True, False]
    smaller = (await registry.deploy(version=second, canary=10, quantize="fp16")).json()
    assert [route["quantized"]["kind"] for route in smaller["routes"]] == ["int8", "fp16"]
    half = (await registry.deploy(version=second, canary=50)).json()
    assert [route["quantized"]["kind"] for route in half["routes"]] == ["int8", "fp16"]
    beside = (await registry.deploy(version=second, fallback=first)).json()
    assert beside["fallback"]["quantized"] == graph
    full = graph_of(await registry.deploy(version=second))
    assert full["kind"] == "fp16"
    await registry.promote(second, "production")
    back = graph_of(await registry.client.post(f"{URL}/rollback", json={}))
    assert back == graph
    plain = (await registry.deploy(version=second, fallback=second, quantize="none")).json()
    assert [plain["routes"][0]["quantized"], plain["fallback"]["quantized"]] == [None, None]


async def test_variants_and_whole_states_ask_for_graphs(registry: Registry) -> None:
    first = await version(registry)
    second = await version(registry, "staging", graph=network(3))
    answer = await registry.deploy(
        variants={
            "plain": {"version": first, "weight": 50},
            "small": {"version": second, "weight": 50, "quantize": "int8"},
        }
    )
    assert [route["quantized"] and route["quantized"]["kind"] for route in answer.json()["routes"]] == [None, "int8"]
    whole = {
        "model_id": MODEL,
        "routes": [{"name": "only", "version": second, "weight": 100, "quantize": "fp16"}],
        "fallback": first,
    }
    body = (await registry.client.post("/mlops/deployments", json=whole)).json()
    assert body["routes"][0]["quantized"]["kind"] == "fp16"
    assert body["fallback"]["quantized"] is None


async def test_conditions_and_keys(registry: Registry) -> None:
    number = await version(registry)
    await registry.client.put(f"/mlops/models/{MODEL}/aliases/champion", json={"version": number})
    before = made()
    stale = await registry.deploy(quantize="int8", headers={"If-Match": "7"})
    assert (stale.status_code, made()) == (412, before), "nothing is made for what will be refused"
    key = {"Idempotency-Key": "q1", "If-Match": "0"}
    first = await registry.deploy(alias="champion", quantize="int8", headers=key)
    assert graph_of(first)["kind"] == "int8"
    again = await registry.deploy(alias="champion", quantize="int8", headers=key)
    assert again.json() == first.json()
    assert (await registry.deploy(alias="champion", quantize="fp16", headers=key)).status_code == 409


async def test_garbage_spares_what_may_serve_again(registry: Registry) -> None:
    first = await version(registry)
    graph = graph_of(await registry.deploy(quantize="int8"))
    second = await version(registry, "staging", graph=network(3, fragile=True))
    refused = await registry.deploy(version=second, quantize="int8")
    assert refused.status_code == 409
    blobs = keys(registry.store, "blobs")
    third = await version(registry, "staging", graph=network(4))
    await registry.deploy(version=third, quantize="int8")
    for _ in range(2):
        await collector(registry).collect()
    kept = keys(registry.store, "blobs")
    assert blob_key(graph["sha256"]) in kept
    assert len(blobs - kept) == 1, "the graph that was refused"
    assert graph["sha256"] in {named.sha256 for named in in_databases(registry.service.settings)}, "a backup has it"
    assert graph_of(await registry.client.post(f"{URL}/rollback", json={}))["sha256"] == graph["sha256"]
    assert first


async def test_graphs_go_with_the_bytes_of_their_version(registry: Registry) -> None:
    numbers = [await version(registry, "staging", graph=network(seed)) for seed in (1, 2, 3)]
    graphs = [
        graph_of(await registry.deploy(version=number, quantize="int8", quantize_max_loss=0.1)) for number in numbers
    ]
    for number in numbers[:2]:
        await archive(registry, number)
    await policy(registry, days=7)
    assert await dropped(registry) == [numbers[0]]
    for _ in range(3):
        await collector(registry).collect()
    left = keys(registry.store, "blobs")
    assert [blob_key(graph["sha256"]) in left for graph in graphs] == [False, True, True]


async def test_a_state_whose_graph_is_gone_does_not_come_back(registry: Registry) -> None:
    first = await version(registry)
    second = await version(registry, "staging", graph=network(3))
    await registry.deploy(version=first, quantize="int8")
    await registry.deploy(version=second)
    holder = garbage.quantized_holder(MODEL, first)
    await registry.service.db.write(lambda connection: garbage.let_go(connection, [holder]))
    back = await registry.client.post(f"{URL}/rollback", json={})
    assert back.status_code == 409
    assert "deploy the version with `quantize` again" in back.json()["detail"]
    assert graph_of(await registry.deploy(version=first, quantize="int8"))["kind"] == "int8"
    await registry.deploy(version=second)
    assert (await registry.client.post(f"{URL}/rollback", json={})).status_code == 202


async def test_a_child_that_takes_too_much_ends_and_nothing_else(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    settings = RegistrySettings(data_dir=tmp_path / "data", registry_quantization_memory_bytes=256 << 20)
    async for registry in running(settings):
        await version(registry)
        answer = await registry.deploy(quantize="int8")
        assert (answer.status_code, answer.json()["code"]) == (409, "not-quantized")
        assert "TRIMTAB_REGISTRY_QUANTIZATION_MEMORY_BYTES" in answer.json()["detail"]
        assert (await registry.deploy()).status_code == 202
        assert list(settings.staging_dir.glob("quantize-*")) == []


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
async def test_a_converted_pipeline_keeps_its_encoders(tmp_path: Path) -> None:
    """scikit-learn: categories and scaling stay as they are, the network behind them shrinks."""
    columns = rows(600)
    table = pa.table({name: pa.array(values) for name, values in columns.items()}).to_pandas()
    wild = (columns["duration"] > 5e5) ^ (columns["protocol"] == "tcp")
    truth = np.where(wild, "attack", "normal")
    encoders = ColumnTransformer([("number", StandardScaler(), ["duration"]), ("text", OneHotEncoder(), ["protocol"])])
    fitted = make_pipeline(encoders, MLPClassifier((128, 64), max_iter=100, random_state=0)).fit(table, truth)
    tmp_path.joinpath("data").mkdir()
    async for registry in running(RegistrySettings(data_dir=tmp_path / "data")):
        with convert(fitted, table, labels=truth) as (folder, metadata):
            files = {path.name: path.read_bytes() for path in folder.iterdir()}
            answer = await registry.register(
                MODEL, onnx.load_from_string(files.pop("model.onnx")), files, **{**metadata, "changes": "converted"}
            )
        assert answer.status_code == 201, answer.text
        await registry.promote(answer.json()["version"], "staging")
        for kind in ("int8", "fp16"):
            graph = graph_of(await registry.deploy(version=answer.json()["version"], quantize=kind))
            assert (graph["report"]["metric"], graph["report"]["rows"]) == ("accuracy", 600)
            assert graph["report"]["bytes_after"] < 0.75 * graph["report"]["bytes_before"]
            nodes = onnx.load_from_string(registry.store.get_bytes(blob_key(graph["sha256"]))).graph.node
            assert any(node.domain == "ai.onnx.ml" for node in nodes)


async def test_stopping_ends_the_child(tmp_path: Path) -> None:
    tmp_path.joinpath("data").mkdir()
    async for registry in running(RegistrySettings(data_dir=tmp_path / "data")):
        await version(registry)
        await stopped_at_work(registry)


async def stopped_at_work(registry: Registry) -> None:
    quantizer = registry.service.state["parts"].quantizer
    asked = asyncio.create_task(registry.deploy(quantize="int8"))
    await until(lambda: bool(quantizer._children), 30, "a child at work")
    await quantizer.stop()
    answer = await asked
    assert answer.status_code == 503, answer.text

    def count(connection: Any) -> int:
        return len(connection.execute(quantizations.select()).all())

    assert await registry.service.db.read(count) == 0


def test_every_document_in_the_options_is_strict() -> None:
    """A member that is added to the options later is strict as well."""
    from services.registry.api.serving_options import StrictOptions

    def objects(schema: Any) -> list[Any]:
        inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
        here = [schema] if isinstance(schema, dict) and "properties" in schema else []
        return [*here, *(found for each in inner for found in objects(each))]

    found = objects(StrictOptions.model_json_schema())
    assert len(found) >= 4
    assert all(each.get("additionalProperties") is False for each in found)
    assert StrictDocument.model_config["extra"] == "forbid"
