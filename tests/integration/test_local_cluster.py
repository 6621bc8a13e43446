"""The cluster as one: broker, topics, merged metrics; the services have tests of their own."""

import asyncio
import os
import signal
import socket
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.topics import TOPICS
from services.kernel.bus.admin import describe_topics
from tests.waiting import until
from trimtab.local.cluster import LocalCluster
from trimtab.local.errors import DataDirBusy, PortTaken
from trimtab.local.events import ClusterEvent
from trimtab.local.metrics import MetricsServer
from trimtab.local.ports import LOOPBACK, free_ports
from trimtab.local.settings import LocalSettings
from trimtab.local.signals import until_signalled


@pytest.fixture
def settings(tmp_path: Path, broker_jars: Path) -> LocalSettings:
    """A cluster on ports and in a directory of its own."""
    port, controller_port, metrics_port = free_ports(3)
    return LocalSettings(
        data_dir=tmp_path / "data",
        cache_dir=broker_jars.parent,
        offline=True,
        broker_port=port,
        broker_controller_port=controller_port,
        metrics_port=metrics_port,
    )


async def test_broker_topics_and_metrics_come_and_go_together(settings: LocalSettings) -> None:
    events: list[ClusterEvent] = []
    async with LocalCluster(settings, only=(), tell=events.append) as cluster:
        assert cluster.bootstrap == f"127.0.0.1:{settings.broker_port}"
        found = await describe_topics(settings.model_copy(update={"kafka_bootstrap": cluster.bootstrap}))
        assert {topic.name for topic in TOPICS} <= set(found)
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(f"http://{LOOPBACK}:{settings.metrics_port}/metrics")
        assert answer.status_code == 200
        with pytest.raises(DataDirBusy, match=str(settings.data_dir)):
            await LocalCluster(settings, only=(), tell=events.append).start()
    assert [event.part for event in events if event.kind == "ready"] == ["broker", "topics", "metrics"]
    assert [event.part for event in events if event.kind == "stopped"] == ["broker"]


async def test_a_broker_that_dies_comes_back(settings: LocalSettings) -> None:
    events: list[ClusterEvent] = []
    async with LocalCluster(settings, only=(), tell=events.append) as cluster:
        assert cluster.broker is not None
        first = cluster.broker.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(
            lambda: [event.part for event in events if event.kind == "ready"].count("broker") == 2, 30, "the restart"
        )
        assert cluster.broker.pid != first
    died = next(event.detail for event in events if event.kind == "died")
    assert died == f"was killed by SIGKILL (log: {settings.data_dir / 'kafka' / 'broker.log'})"


async def test_a_taken_port_is_told_before_anything_starts(settings: LocalSettings) -> None:
    events: list[ClusterEvent] = []
    cluster = LocalCluster(settings, only=(), tell=events.append)
    with socket.create_server((LOOPBACK, settings.metrics_port)), pytest.raises(PortTaken, match="METRICS_PORT"):
        await cluster.start()
    assert events == []
    twice = settings.model_copy(update={"metrics_port": settings.broker_port})
    with pytest.raises(PortTaken, match=f"are both {settings.broker_port}"):
        await LocalCluster(twice, only=(), tell=events.append).start()


async def test_an_unknown_service_is_refused(settings: LocalSettings) -> None:
    with pytest.raises(ValueError, match="no such service: oracle"):
        LocalCluster(settings, only=("oracle",))


async def test_a_signal_stops_the_work_in_order() -> None:
    order: list[str] = []

    async def work() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.Event().wait()
        finally:
            order.append("released")
        return 0

    assert await until_signalled(work()) == 128 + signal.SIGTERM
    assert order == ["released"]


async def test_merged_metrics_say_who_is_down(tmp_path: Path) -> None:
    port, dead_port = free_ports(2)
    other = MetricsServer({}, host=LOOPBACK, port=dead_port)
    server = MetricsServer(
        {"loop": f"http://{LOOPBACK}:{dead_port}", "tuner": f"http://{LOOPBACK}:1"}, host=LOOPBACK, port=port
    )
    await other.start()
    await server.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as client:
            text = (await client.get(f"http://{LOOPBACK}:{port}/metrics")).text
    finally:
        await server.stop()
        await other.stop()
    up = {
        sample.labels["service"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert up == {"loop": 1.0, "tuner": 0.0}
