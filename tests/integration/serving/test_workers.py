"""Several serving processes on one port."""

import asyncio
import os
import signal
import socket
from collections.abc import Iterable
from typing import Any

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.serving.conftest import Cluster, Replica
from tests.integration.serving.test_service import ids_in_topic
from tests.waiting import until

BODY = {"modelId": "m", "input": {"x": [1.0, 0, 0, 0]}}


async def predicted(replica: Replica) -> dict[str, Any]:
    """A prediction, asked for over a connection of its own."""
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.post(f"{replica.url}/mlops/predict", json=BODY)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def ask_once(replica: Replica) -> str:
    """The id of one."""
    return str((await predicted(replica))["prediction_id"])


def incarnations(ids: Iterable[str]) -> set[str]:
    return {i.partition("-")[0] for i in ids}


async def metric(client: httpx.AsyncClient, replica: Replica, name: str) -> dict[str, float]:
    """A metric's values by worker."""
    page = (await client.get(f"{replica.url}/metrics")).text
    return {
        sample.labels["worker"]: sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == name
    }


async def both_ready(cluster: Cluster, replica: Replica, client: httpx.AsyncClient) -> None:
    await replica.ready(client)
    names = {f"{replica.name}-w0", f"{replica.name}-w1"}
    await until(
        lambda: names <= cluster.statuses.keys() and all(cluster.statuses[n].converged.get("m") for n in names),
        60,
        "both are ready",
    )


def worker_pids(replica: Replica) -> dict[int, int]:
    """The latest process of each worker, by number."""
    return {int(str(e["worker"])): int(str(e["pid"])) for e in replica.events("worker_started")}


async def test_two_workers_are_one_server(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start(TRIMTAB_SERVING_WORKERS="2")
    await both_ready(cluster, replica, client)
    ids = [await ask_once(replica) for _ in range(60)]
    assert len(incarnations(ids)) == 2
    counted = await metric(client, replica, "ml_predictions_total")
    assert set(counted) == {"0", "1"}
    assert sum(counted.values()) == 60
    assert await metric(client, replica, "trimtab_worker_up") == {"0": 1, "1": 1}
    merged = (await client.get(f"{replica.url}/mlops/metrics")).text
    assert 'ml_models_in_memory{service="serving",worker="1"} 1.0' in merged

    answer = await client.put(f"{replica.url}/mlops/serving", json={"maxModelsInMemory": 7, "cacheTTL": 60})
    assert answer.status_code == 200, answer.text

    async def both_know() -> bool:
        return await metric(client, replica, "ml_models_limit") == {"0": 7, "1": 7}

    await until(both_know, 10, "both have the new configuration")
    cached: dict[str, list[bool]] = {}
    for _ in range(40):
        again = await predicted(replica)
        ids.append(again["prediction_id"])
        cached.setdefault(again["prediction_id"].partition("-")[0], []).append(again["cached"])
    assert sorted(any(found) for found in cached.values()) == [True, True]
    assert await replica.terminate() == 0
    assert set(await ids_in_topic(cluster)) == set(ids)
    await until(lambda: all(cluster.statuses[f"{replica.name}-w{i}"].stopped for i in (0, 1)), 10)


async def test_a_worker_that_is_killed_comes_back_and_nothing_answered_is_lost(
    cluster: Cluster, client: httpx.AsyncClient
) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start(TRIMTAB_SERVING_WORKERS="2")
    await both_ready(cluster, replica, client)
    pids = worker_pids(replica)
    answered: list[str] = []
    broken: list[httpx.TransportError] = []
    done = asyncio.Event()

    async def load() -> None:
        while not done.is_set():
            try:
                answered.append(await ask_once(replica))
            except httpx.TransportError as error:  # of the killed one's connections
                broken.append(error)

    callers = [asyncio.create_task(load()) for _ in range(6)]
    await until(lambda: len(incarnations(answered)) == 2 and len(answered) > 100, 60)
    os.kill(pids[1], signal.SIGKILL)
    await until(lambda: bool(replica.events("worker_died")), 10, "the death is noticed")
    during = len(answered)
    await until(lambda: len(answered) > during + 20, 30, "the other one goes on")
    await until(lambda: len(incarnations(answered)) == 3, 90, "the successor answers")
    assert worker_pids(replica)[1] != pids[1]
    done.set()
    await asyncio.gather(*callers)
    assert len(broken) <= 6
    assert await replica.terminate() == 0
    assert set(answered) <= set(await ids_in_topic(cluster))
    assert len(replica.events("log_adopted")) <= 1
    assert list((cluster.settings.data_dir / "serving-log").iterdir()) == []


async def test_workers_do_not_outlive_the_one_that_started_them(cluster: Cluster, client: httpx.AsyncClient) -> None:
    replica = cluster.start(TRIMTAB_SERVING_WORKERS="2")
    await replica.ready(client)
    pids = worker_pids(replica).values()
    replica.kill()
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids), 10, "the workers are gone")


@pytest.mark.parametrize(
    ("environment", "status", "said"),
    [
        ({"MODEL_STORAGE_TYPE": "s3"}, 2, "S3_BUCKET"),
        ({"TRIMTAB_STORAGE_DIR": "/proc/nowhere"}, 2, "worker_did_not_start"),
    ],
)
async def test_workers_that_can_not_start_end_it_all(
    cluster: Cluster, environment: dict[str, str], status: int, said: str
) -> None:
    replica = cluster.start(TRIMTAB_SERVING_WORKERS="2", **environment)
    assert await asyncio.to_thread(replica.process.wait, 120) == status
    assert said in replica.log.read_text()


async def test_a_taken_port_is_said_at_once(cluster: Cluster) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        replica = cluster.start(TRIMTAB_SERVING_WORKERS="2", TRIMTAB_SERVING_PORT=port)
        assert await asyncio.to_thread(replica.process.wait, 120) == 2
    assert "TRIMTAB_SERVING_PORT" in replica.log.read_text()
    assert replica.events("worker_started") == []
