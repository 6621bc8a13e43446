"""The embedded Kafka as its owner sees it: starts, crashes, comes back with its data, never stays behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.waiting import until_sync
from trimtab.local.broker import LocalBroker
from trimtab.local.errors import BrokerStopped, DataDirBusy, PortTaken
from trimtab.local.ports import LOOPBACK, free_ports

TOPIC = "kept"


@pytest.fixture
def own_broker(broker_jars: Path, tmp_path: Path) -> Iterator[LocalBroker]:
    """A broker of the test's own, not started."""
    port, controller_port = free_ports(2)
    broker = LocalBroker(tmp_path / "kafka", jars=broker_jars, port=port, controller_port=controller_port)
    yield broker
    broker.kill()


async def write(broker: LocalBroker, *values: bytes) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    if TOPIC not in await admin.list_topics():
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, acks="all", enable_idempotence=True) as producer:
        for value in values:
            await producer.send_and_wait(TOPIC, value)


async def read(broker: LocalBroker, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(TOPIC, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest") as consumer:
        return [(await consumer.getone()).value for _ in range(count)]


async def test_data_outlive_a_crash_and_a_stop_on_other_ports(own_broker: LocalBroker, broker_jars: Path) -> None:
    own_broker.start()
    await write(own_broker, b"one", b"two")
    own_broker.kill()
    assert not own_broker.alive
    own_broker.start()
    await write(own_broker, b"three")
    own_broker.stop()
    port, controller_port = free_ports(2)
    moved = LocalBroker(own_broker.data_dir, jars=broker_jars, port=port, controller_port=controller_port)
    moved.start()
    try:
        assert await read(moved, 3) == [b"one", b"two", b"three"]
    finally:
        moved.stop()


@pytest.mark.parametrize("setting", ["TRIMTAB_BROKER_PORT", "TRIMTAB_BROKER_CONTROLLER_PORT"])
def test_a_taken_port_is_told_before_anything_starts(own_broker: LocalBroker, setting: str) -> None:
    port = own_broker.port if setting == "TRIMTAB_BROKER_PORT" else own_broker.controller_port
    with socket.create_server((LOOPBACK, port)), pytest.raises(PortTaken, match=f"Port {port} .* set {setting}"):
        own_broker.start()
    assert own_broker.pid is None


def test_two_brokers_cannot_share_a_data_directory(own_broker: LocalBroker, broker_jars: Path) -> None:
    own_broker.start()
    port, controller_port = free_ports(2)
    second = LocalBroker(own_broker.data_dir, jars=broker_jars, port=port, controller_port=controller_port)
    with pytest.raises(DataDirBusy, match=f"{own_broker.data_dir} is in use by process {os.getpid()}"):
        second.start()
    assert own_broker.alive


def test_a_broker_that_cannot_start_says_why_in_one_line(own_broker: LocalBroker) -> None:
    own_broker.start()
    own_broker.stop()
    meta = own_broker.data_dir / "log" / "meta.properties"
    meta.write_text(meta.read_text().replace("node.id=1", "node.id=7"))
    with pytest.raises(BrokerStopped, match=r"ended with status 1: .*node") as caught:
        own_broker.start()
    assert "\n" not in caught.value.detail
    assert "broker.log" in caught.value.detail


def test_a_broker_that_does_not_answer_in_time_is_stopped(own_broker: LocalBroker) -> None:
    with pytest.raises(BrokerStopped, match=r"did not answer within 0\.01 s"):
        own_broker.start(timeout_seconds=0.01)
    assert not own_broker.alive


def test_no_broker_is_left_when_its_parent_is_killed(own_broker: LocalBroker, broker_jars: Path) -> None:
    program = (
        "import sys, pathlib, signal\n"
        "from trimtab.local.broker import LocalBroker\n"
        "data, jars, port, controller = sys.argv[1:]\n"
        "broker = LocalBroker(pathlib.Path(data), jars=pathlib.Path(jars), port=int(port),"
        " controller_port=int(controller))\n"
        "broker.start()\n"
        "print(broker.pid, flush=True)\n"
        "signal.pause()\n"
    )
    arguments = map(str, [own_broker.data_dir, broker_jars, own_broker.port, own_broker.controller_port])
    with subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        try:
            pid = int(parent.stdout.readline())
            assert psutil.pid_exists(pid)
        finally:
            parent.send_signal(signal.SIGKILL)
    until_sync(lambda: not psutil.pid_exists(pid), 5, "the end of the broker")
    own_broker.start()  # neither its lock nor its ports were left behind
    assert own_broker.alive
