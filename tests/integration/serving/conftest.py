"""A real serving process on a real broker, with models in a local artifact store."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.base import Message
from schemas.codec import decode, encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import DeploymentWanted, ReplicaStatus, Route
from schemas.features import Signature
from schemas.predictions import PredictionBatch
from schemas.topics import topic_of
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.bus.table_reader import TableReader
from services.kernel.settings import Settings
from services.kernel.storage import open_store
from tests.serving_models import VECTOR, vector_model
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.ports import free_ports


@dataclass
class Cluster:
    """A topic prefix, an artifact store and the serving processes of one test."""

    root: Path
    settings: Settings
    producer: Producer
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    revisions: dict[str, int] = field(default_factory=dict)
    statuses: dict[str, ReplicaStatus] = field(default_factory=dict)

    def publish(
        self,
        model_id: str,
        version: str,
        signature: Signature = VECTOR,
        build: Callable[[Path], Path] = vector_model,
    ) -> Route:
        """Put a version into the store; the route to all of it."""
        directory = self.root / "versions" / f"{model_id}-{version}"
        directory.mkdir(parents=True)
        build(directory / "model.onnx")
        manifest = build_manifest(directory, model_id=model_id, framework="onnx", signature=signature)
        write_manifest(directory, manifest)
        artifact = f"models/{model_id}/{version}"
        digest = store_version(open_store(self.settings), directory, artifact)
        return Route(name="production", version=version, weight=100, artifact=artifact, manifest_digest=digest)

    async def want(
        self, model_id: str, *routes: Route, shadow: Route | None = None, fallback: Route | None = None, **more: Any
    ) -> int:
        """Announce a wanted state, `more` of its fields too; its revision."""
        revision = self.revisions[model_id] = self.revisions.get(model_id, 0) + 1
        await self.send(
            DeploymentWanted(
                model_id=model_id,
                revision=revision,
                routes=routes,
                shadow=shadow,
                fallback=fallback,
                since=datetime.now(UTC),
                **more,
            ),
            revision,
        )
        return revision

    async def send(self, message: Message, revision: int | None = None) -> None:
        """Produce one message to its topic."""
        content_type, body = encode(message)
        envelope = Envelope(
            id=new_id(),
            source="test",
            type=message.TYPE,
            time=datetime.now(UTC),
            revision=revision,
            content_type=content_type,
        )
        topic = topic_of(type(message)).name
        await self.producer.send(topic, body, key=message.key.encode(), headers=to_headers(envelope))

    def start(self, **environment: str) -> "Replica":
        """Start a serving process."""
        (port,) = free_ports(1)
        variables = {
            "TRIMTAB_KAFKA_BOOTSTRAP": self.settings.kafka_bootstrap,
            "TRIMTAB_TOPIC_PREFIX": self.settings.topic_prefix,
            "TRIMTAB_DATA_DIR": str(self.settings.data_dir),
            "TRIMTAB_SERVING_PORT": str(port),
            "TRIMTAB_SERVING_REPLICA": f"replica-{len(self.processes)}",
            "TRIMTAB_SERVING_STATUS_SECONDS": "0.3",
            **environment,
        }
        log = (self.root / f"serving-{len(self.processes)}.log").open("wb")
        process = subprocess.Popen(
            [sys.executable, "-m", "services.serving"], env=os.environ | variables, stderr=log, stdout=log
        )
        log.close()
        self.processes.append(process)
        return Replica(process, port, variables["TRIMTAB_SERVING_REPLICA"], Path(log.name))

    async def batches(self) -> list[PredictionBatch]:
        """Every batch on `predictions` so far."""
        from aiokafka import AIOKafkaConsumer, TopicPartition

        consumer = AIOKafkaConsumer(bootstrap_servers=self.settings.kafka_bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        try:
            topic = self.settings.topic("predictions")
            while not (numbers := consumer.partitions_for_topic(topic)):
                await consumer._client.force_metadata_update()
            partitions = [TopicPartition(topic, number) for number in sorted(numbers)]
            consumer.assign(partitions)
            ends = await consumer.end_offsets(partitions)
            found: list[PredictionBatch] = []
            for partition in partitions:
                await consumer.seek_to_beginning(partition)
            while any([await consumer.position(p) < ends[p] for p in partitions]):
                for records in (await consumer.getmany(timeout_ms=100)).values():
                    found += [decode(PredictionBatch, record.value) for record in records]
            return found
        finally:
            await consumer.stop()


@dataclass
class Replica:
    """One serving process."""

    process: "subprocess.Popen[bytes]"
    port: int
    name: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self, name: str) -> list[dict[str, object]]:
        """The log lines of one event."""
        lines = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    def kill(self) -> None:
        """Without warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    async def terminate(self) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.process.wait, 30)

    async def ready(self, client: httpx.AsyncClient) -> None:
        """Wait until it answers `/readyz` with 200."""

        async def is_ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()[-3000:]
            try:
                return (await client.get(f"{self.url}/readyz")).status_code == 200
            except httpx.TransportError:
                return False

        await until(is_ready, 30, f"{self.name} is ready")


@pytest.fixture
async def cluster(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> AsyncIterator[Cluster]:
    """Topics of the test's own, and no serving process yet."""
    settings = Settings(kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, data_dir=tmp_path / "data")
    settings.data_dir.mkdir()
    await apply_topics(settings)
    producer = Producer(settings, "test")
    await producer.start()
    cluster = Cluster(tmp_path, settings, producer)

    def note(key: str, message: Message | None, _: Envelope | None) -> None:
        if isinstance(message, ReplicaStatus):
            cluster.statuses[key] = message

    table = TableReader(settings, "deployment-status", note)
    await table.start()
    yield cluster
    for process in cluster.processes:
        if process.poll() is None:
            process.kill()
        process.wait(10)
    await table.stop()
    await producer.stop()


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client."""
    async with httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=100)) as client:
        yield client
