"""Kafka goes away: answers go on, and every one of them is in the topic once it is back."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.serving.conftest import Cluster, Replica
from tests.integration.serving.test_service import ids_in_topic, predict
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.ports import free_ports


@pytest.fixture
def broker(broker_jars: Path, tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of this test's own, to be stopped."""
    port, controller_port = free_ports(2)
    broker = LocalBroker(tmp_path / "broker", jars=broker_jars, port=port, controller_port=controller_port)
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def topic_prefix() -> str:
    """The broker is nobody else's."""
    return ""


async def kafka_is(status: str, client: httpx.AsyncClient, replica: Replica) -> None:
    """The health page says so; it may remember what it said for two seconds."""

    async def said() -> bool:
        document = (await client.get(f"{replica.url}/mlops/health")).json()
        return bool(document["kafka"]["status"] == status)

    await until(said, 20, f"the health page says that Kafka is {status}")


async def test_answers_go_on_and_the_log_drains_later(
    broker: LocalBroker, cluster: Cluster, client: httpx.AsyncClient
) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    before = [(await predict(client, replica))["prediction_id"] for _ in range(20)]
    await kafka_is("ready", client, replica)
    await asyncio.to_thread(broker.stop)
    during = [(await predict(client, replica))["prediction_id"] for _ in range(200)]
    assert (await client.get(f"{replica.url}/readyz")).status_code == 200
    await kafka_is("down", client, replica)
    await asyncio.to_thread(broker.start)
    after = [(await predict(client, replica))["prediction_id"] for _ in range(20)]

    async def everything_has_arrived() -> bool:
        return set(before + during + after) <= set(await ids_in_topic(cluster))

    await until(everything_has_arrived, 60, "every answered row in the topic")
    await kafka_is("ready", client, replica)
    found = await ids_in_topic(cluster)
    assert len(found) == len(set(found)) == 240
    assert await replica.terminate() == 0


async def test_a_replica_that_died_without_a_broker_leaves_its_log_to_the_next(
    broker: LocalBroker, cluster: Cluster, client: httpx.AsyncClient
) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    await asyncio.to_thread(broker.stop)
    answered = [(await predict(client, replica))["prediction_id"] for _ in range(50)]
    replica.kill()
    await asyncio.to_thread(broker.start)
    second = cluster.start()
    await second.ready(client)
    assert await second.terminate() == 0
    assert set(answered) <= set(await ids_in_topic(cluster))
