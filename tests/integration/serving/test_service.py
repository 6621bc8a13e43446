"""The serving process end to end: wanted state in, answers and predictions out, nothing lost."""

import asyncio
from pathlib import Path
from typing import Any

import httpx

from schemas.events import Route
from services.kernel.artifacts import blob_key, fetch_manifest
from services.kernel.storage import open_store
from tests.integration.serving.conftest import Cluster, Replica
from tests.serving_models import VECTOR, vector_model
from tests.waiting import until


async def predict(client: httpx.AsyncClient, replica: Replica, model_id: str = "m", x: float = 1.0) -> dict[str, Any]:
    body = {"modelId": model_id, "input": {"x": [x, 0, 0, 0]}}
    answer = await client.post(f"{replica.url}/mlops/predict", json=body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def sharp_model(path: Path) -> Path:
    return vector_model(path, scale=10)


def broken_model(path: Path) -> Path:
    path.write_bytes(b"\x08\x09 not a graph")
    return path


async def ids_in_topic(cluster: Cluster) -> list[str]:
    return [i for batch in await cluster.batches() for i in batch.prediction_ids()]


async def test_every_answer_is_in_the_topic_as_it_was_given(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    answers = await asyncio.gather(*(predict(client, replica, x=float(i)) for i in range(300)))
    assert await replica.terminate() == 0
    rows: dict[str, dict[str, Any]] = {}
    for batch in await cluster.batches():
        rows |= dict(zip(batch.prediction_ids(), batch.rows.to_pylist(), strict=True))
    assert rows.keys() == {answer["prediction_id"] for answer in answers}
    for i, answer in enumerate(answers):
        row = rows[answer["prediction_id"]]
        assert row["x:x"] == [float(i), 0, 0, 0]
        assert row["y:label"] == answer["prediction"]
        assert row["y:probabilities"] == list(answer["probabilities"].values())
        assert (row["version"], row["route"]) == ("1.0.0", "production")
    assert list((cluster.settings.data_dir / "serving-log").iterdir()) == []


async def test_kill_9_under_load_loses_no_answered_row(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    answered: list[str] = []

    async def load() -> None:
        while True:
            try:
                answered.append((await predict(client, replica))["prediction_id"])
            except httpx.TransportError:
                return

    load_tasks = [asyncio.create_task(load()) for _ in range(8)]
    await until(lambda: len(answered) > 500, 30)
    replica.kill()
    await asyncio.gather(*load_tasks)
    second = cluster.start()
    await second.ready(client)
    answered.append((await predict(client, second))["prediction_id"])
    assert await second.terminate() == 0
    found = await ids_in_topic(cluster)
    assert set(answered) <= set(found)
    assert len({i.partition("-")[0] for i in found}) == 2


async def test_sigterm_fails_no_request(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    answered = 0
    refused = 0

    async def load() -> None:
        nonlocal answered, refused
        async with httpx.AsyncClient(timeout=20) as own:
            while True:
                try:
                    await predict(own, replica)
                    answered += 1
                except httpx.ConnectError:  # the listener is closed: another replica would take it
                    refused += 1
                    return

    load_tasks = [asyncio.create_task(load()) for _ in range(8)]
    await until(lambda: answered > 200, 30)
    assert await replica.terminate() == 0
    await asyncio.gather(*load_tasks)
    assert refused == 8
    assert len(set(await ids_in_topic(cluster))) == answered
    await until(lambda: cluster.statuses[replica.name].stopped)


async def test_a_new_version_takes_over_and_a_broken_one_does_not(cluster: Cluster, client: httpx.AsyncClient) -> None:
    first, second = cluster.publish("m", "1.0.0"), cluster.publish("m", "1.0.1", VECTOR, sharp_model)
    await cluster.want("m", first)
    replica = cluster.start()
    await replica.ready(client)
    revision = await cluster.want("m", second)
    await until(lambda: cluster.statuses[replica.name].converged.get("m") == revision)
    assert (await predict(client, replica))["version"] == "1.0.1"

    broken = cluster.publish("m", "1.0.2", VECTOR, broken_model)
    await cluster.want("m", broken)

    def failed() -> bool:
        return any(v.version == "1.0.2" and v.state == "failed" for v in cluster.statuses[replica.name].versions)

    await until(failed)
    assert (await predict(client, replica))["version"] == "1.0.1"
    assert cluster.statuses[replica.name].converged["m"] == revision
    assert (await client.get(f"{replica.url}/readyz")).status_code == 200

    revision = await cluster.want("m", first)
    await until(lambda: cluster.statuses[replica.name].converged.get("m") == revision)
    assert (await predict(client, replica))["version"] == "1.0.0"


async def test_a_model_that_never_loaded_is_not_ready(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("good", cluster.publish("good", "1.0.0"))
    await cluster.want("bad", cluster.publish("bad", "1.0.0", VECTOR, broken_model))
    replica = cluster.start()
    await until(lambda: replica.name in cluster.statuses and len(cluster.statuses[replica.name].converged) == 1, 30)
    assert (await predict(client, replica, "good"))["version"] == "1.0.0"
    answer = await client.get(f"{replica.url}/readyz")
    assert answer.status_code == 503
    assert "bad" in str(answer.json()["waiting_for"])
    assert (await client.get(f"{replica.url}/v2/health/ready")).status_code == 503
    predicted = await client.post(f"{replica.url}/mlops/predict", json={"modelId": "bad", "input": {"x": [1, 2, 3, 4]}})
    assert predicted.status_code == 503


async def test_a_flipped_byte_is_not_served(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    route = cluster.publish("m", "1.0.1", build=lambda path: vector_model(path, scale=2.0))
    manifest, _ = fetch_manifest(open_store(cluster.settings), route.artifact, route.manifest_digest)
    [file] = [file for file in manifest.files if file.is_model]
    graph = cluster.settings.data_dir / "artifacts" / blob_key(file.sha256)
    data = bytearray(graph.read_bytes())
    data[-1] ^= 1
    graph.chmod(0o600)
    graph.write_bytes(data)
    replica = cluster.start()
    await replica.ready(client)
    await cluster.want("m", route)
    await until(lambda: replica.events("version_failed_to_load"))
    assert (await predict(client, replica))["version"] == "1.0.0"


async def test_canary_shadow_and_undeploy(cluster: Cluster, client: httpx.AsyncClient) -> None:
    stable, canary = cluster.publish("m", "1.0.0"), cluster.publish("m", "1.0.1", VECTOR, sharp_model)
    routes = [stable.model_copy(update={"weight": 50}), canary.model_copy(update={"weight": 50, "name": "canary"})]
    await cluster.want("m", *routes, shadow=Route(**{**canary.model_dump(), "name": "shadow", "weight": 0}))
    replica = cluster.start()
    await replica.ready(client)
    answers = await asyncio.gather(*(predict(client, replica) for _ in range(100)))
    shares = {route: sum(a["route"] == route for a in answers) for route in ("production", "canary")}
    assert min(shares.values()) > 20
    await cluster.want("m")
    body = {"modelId": "m", "input": {"x": [1, 0, 0, 0]}}
    await until(lambda: _gone(client, replica, body))
    assert await replica.terminate() == 0
    logged = [row["route"] for b in await cluster.batches() for row in b.rows.to_pylist()]
    assert logged.count("shadow") == logged.count("production") + logged.count("canary")


async def _gone(client: httpx.AsyncClient, replica: Replica, body: dict[str, Any]) -> bool:
    return (await client.post(f"{replica.url}/mlops/predict", json=body)).status_code == 404


async def test_more_models_than_may_be_in_memory(cluster: Cluster, client: httpx.AsyncClient) -> None:
    for name in ("a", "b", "c"):
        await cluster.want(name, cluster.publish(name, "1.0.0"))
    replica = cluster.start(TRIMTAB_SERVING_MAX_MODELS="2")
    await replica.ready(client)
    answers = await asyncio.gather(*(predict(client, replica, name) for name in "abcabcabc" * 5))
    assert {answer["model_id"] for answer in answers} == {"a", "b", "c"}
    assert replica.events("model_unloaded")
    metrics = (await client.get(f"{replica.url}/metrics")).text
    assert "ml_models_in_memory 2.0" in metrics


async def test_metrics_say_what_was_measured(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    await predict(client, replica)
    metrics = (await client.get(f"{replica.url}/metrics")).text
    assert 'ml_prediction_latency_seconds_count{model="m",version="1.0.0"} 1.0' in metrics
    assert 'ml_model_memory_usage_bytes{model="m",version="1.0.0"}' in metrics
    wrong = {"modelId": "m", "input": {"x": "not a list"}}
    assert (await client.post(f"{replica.url}/mlops/predict", json=wrong)).status_code == 422
    metrics = (await client.get(f"{replica.url}/metrics")).text
    assert 'ml_prediction_errors_total{code="invalid-input",model="m",version="1.0.0"} 1.0' in metrics
