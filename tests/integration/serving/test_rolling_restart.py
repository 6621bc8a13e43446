"""Replicas come and go under load, and no request fails; a new one knows all from Kafka and the store."""

import asyncio
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.serving.conftest import Cluster, Replica
from tests.integration.serving.test_service import ids_in_topic, predict, sharp_model
from tests.serving_models import VECTOR
from tests.waiting import POLL_SECONDS, until

BODY = {"modelId": "m", "input": {"x": [1.0, 0, 0, 0]}}


class Follower:
    """A client that asks whoever is ready, over connections that it keeps, and tries nothing twice."""

    def __init__(self, *replicas: Replica) -> None:
        self.replicas = list(replicas)
        self.ready: list[Replica] = []
        self.ids: list[str] = []
        self.failures: list[object] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, callers: int) -> None:
        self._tasks.append(asyncio.create_task(self._follow()))
        await until(lambda: len(self.ready) == len(self.replicas), 60, "all are ready")
        self._tasks += [asyncio.create_task(self._call(number)) for number in range(callers)]

    async def changed(self, new: Replica, old: Replica) -> None:
        """Bring in one replica, then stop another."""
        self.replicas.append(new)
        await until(lambda: new in self.ready, 60, "the new one is ready")
        before = len(self.ids)
        assert await old.terminate() == 0
        self.replicas.remove(old)
        await until(lambda: len(self.ids) > before + 50, 60, "it goes on")

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self) -> None:
        async with httpx.AsyncClient(timeout=5) as client:
            while True:
                self.ready = [replica for replica in list(self.replicas) if await self._is_ready(client, replica)]
                await asyncio.sleep(POLL_SECONDS)

    async def _is_ready(self, client: httpx.AsyncClient, replica: Replica) -> bool:
        try:
            return (await client.get(f"{replica.url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def _call(self, number: int) -> None:
        async with httpx.AsyncClient(timeout=20) as client:
            for turn in cycle(range(number, number + 60)):
                ready = self.ready
                replica = ready[turn % len(ready)]
                try:
                    answer = await client.post(f"{replica.url}/mlops/predict", json=BODY)
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    continue
                if answer.status_code != 200:
                    self.failures.append(answer.text)
                else:
                    self.ids.append(answer.json()["prediction_id"])


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_rolling_restart_fails_no_request(cluster: Cluster, workers: str) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))

    def start() -> Replica:
        return cluster.start(TRIMTAB_SERVING_WORKERS=workers)

    follower = Follower(start(), start())
    await follower.start(callers=6)
    await until(lambda: len(follower.ids) > 100, 60)
    for old in list(follower.replicas):
        await follower.changed(start(), old)
    await follower.stop()
    assert follower.failures == []
    for replica in follower.replicas:
        assert await replica.terminate() == 0
    assert set(follower.ids) <= set(await ids_in_topic(cluster))


async def test_a_replica_knows_all_from_kafka_and_the_store(
    cluster: Cluster, client: httpx.AsyncClient, tmp_path: Path
) -> None:
    first, second = cluster.publish("m", "1.0.0"), cluster.publish("m", "1.0.1", VECTOR, sharp_model)
    await cluster.want("m", first)
    await cluster.want("gone", cluster.publish("gone", "1.0.0"))
    await cluster.want("m", second, fallback=first.model_copy(update={"name": "fallback", "weight": 0.0}))
    await cluster.want("gone")
    replica = cluster.start()
    await replica.ready(client)
    store = str(cluster.settings.data_dir / "artifacts")
    elsewhere = cluster.start(TRIMTAB_DATA_DIR=str(tmp_path / "elsewhere"), TRIMTAB_STORAGE_DIR=store)
    await elsewhere.ready(client)

    def said(answer: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in answer.items() if name not in ("prediction_id", "latency_ms")}

    for x in (-1.0, 0.0, 0.25, 3.0):
        here, there = await predict(client, replica, x=x), await predict(client, elsewhere, x=x)
        assert said(here) == said(there)
        assert here["version"] == "1.0.1"
    for each in (replica, elsewhere):
        answer = await client.post(f"{each.url}/mlops/predict", json={**BODY, "modelId": "gone"})
        assert answer.status_code == 404
    assert {name: cluster.statuses[name].converged for name in (replica.name, elsewhere.name)} == {
        replica.name: {"m": 2, "gone": 2},
        elsewhere.name: {"m": 2, "gone": 2},
    }
    [line] = [line for line in cluster.statuses[elsewhere.name].versions if line.version == "1.0.1"]
    assert (line.state, line.memory_bytes is not None) == ("ready", True)
