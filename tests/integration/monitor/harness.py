"""A monitor as a process of its own, and what feeds it."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from aiokafka.admin import AIOKafkaAdminClient

from schemas.base import Message
from schemas.baseline import build_baseline
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import ModelRegistered
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.manifest import BASELINE_NAME, MANIFEST_NAME, Manifest, ManifestFile, content_digest
from schemas.predictions import PredictionBatch, batch_schema
from schemas.topics import topic_of
from services.kernel.artifacts import file_sha256
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.bus.tail import read_to_end
from services.kernel.leash import leashed
from services.kernel.settings import Settings
from services.kernel.storage.local import LocalStore
from tests.waiting import until_sync
from trimtab.local.ports import free_ports

MODEL, VERSION = "fraud", "1.0.0"

SIGNATURE = Signature(
    inputs=(
        Feature(name="amount", dtype=DType.FLOAT32),
        Feature(name="age", dtype=DType.FLOAT32),
        Feature(name="country", dtype=DType.STRING),
    ),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=("good", "bad"),
)
COUNTRIES = ("at", "de", "fr")


def columns(random: np.random.Generator, rows: int, *, shift: float = 0.0) -> dict[str, Any]:
    """Raw features; `shift` moves `amount` by so many standard deviations."""
    return {
        "amount": (random.normal(size=rows) + shift).astype(np.float32),
        "age": random.uniform(18, 80, rows).astype(np.float32),
        "country": random.choice(COUNTRIES, rows, p=[0.2, 0.5, 0.3]).tolist(),
    }


def batch(
    random: np.random.Generator,
    first_sequence: int,
    rows: int,
    *,
    shift: float = 0.0,
    incarnation: str = "life-1",
    model_id: str = MODEL,
    version: str = VERSION,
    **more: Any,
) -> PredictionBatch:
    """A batch as a replica would ship it; every prediction says `good`."""
    raw = columns(random, rows, shift=shift)
    schema = batch_schema(SIGNATURE)
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "time": [now] * rows,
        "version": [version] * rows,
        "route": ["main"] * rows,
        "latency_us": [1000] * rows,
        "error": [None] * rows,
        "y:label": ["good"] * rows,
        "y:score": [0.9] * rows,
        "y:probabilities": [[0.9, 0.1]] * rows,
        **{f"x:{name}": column for name, column in raw.items()},
    }
    arrays = [pa.array(values[field.name], field.type) for field in schema]
    return PredictionBatch(
        model_id=model_id,
        replica="r1",
        incarnation=incarnation,
        first_sequence=first_sequence,
        rows=pa.record_batch(arrays, schema=schema),
        **more,
    )


class Monitor:
    """One monitor process with its own data folder and topics."""

    def __init__(self, bootstrap: str, prefix: str, data_dir: Path, **settings: Any) -> None:
        (port,) = free_ports(1)
        self.environment = {
            "TRIMTAB_KAFKA_BOOTSTRAP": bootstrap,
            "TRIMTAB_TOPIC_PREFIX": prefix,
            "TRIMTAB_DATA_DIR": str(data_dir),
            "TRIMTAB_MONITOR_PORT": str(port),
            "TRIMTAB_SESSION_TIMEOUT_SECONDS": "6",
            **{f"TRIMTAB_{name.upper()}": str(value) for name, value in settings.items()},
        }
        self.settings = Settings(
            kafka_bootstrap=bootstrap, topic_prefix=prefix, data_dir=data_dir, monitor_port=port, topic_partitions=2
        )
        self.url = f"http://127.0.0.1:{port}"
        self.log = data_dir / "monitor.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, failpoints: str = "") -> None:
        """Start the process; `failpoints` say where it is to die."""
        environment = {**os.environ, **self.environment, "TRIMTAB_FAILPOINTS": failpoints}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                leashed([sys.executable, "-m", "services.monitor"]), env=environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process is None:
            return 0
        self.process.terminate()
        return self.process.wait(timeout=30)

    def get(self, path: str, **parameters: Any) -> dict[str, Any]:
        """The JSON of a GET."""
        answer = httpx.get(self.url + path, params=parameters, timeout=30)
        answer.raise_for_status()
        return answer.json()  # type: ignore[no-any-return]

    def ready(self) -> bool:
        """Whether the process is ready."""
        try:
            return httpx.get(self.url + "/readyz", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def counted(self, model_id: str = MODEL, version: str = VERSION) -> int:
        """Rows counted; 0 while the process does not answer."""
        return int(self.model(model_id).get("versions", {}).get(version, {}).get("rows", 0))

    def model(self, model_id: str = MODEL) -> dict[str, Any]:
        """What the status says about a model."""
        try:
            models = self.get("/mlops/monitor/status")["models"]
        except httpx.HTTPError:
            return {}
        return next((model for model in models if model["model_id"] == model_id), {})

    # what feeds it ------------------------------------------------------------------------------------------------

    def create_topics(self) -> None:
        """All topics of the table."""
        asyncio.run(apply_topics(self.settings))

    def make_anew(self, topic: str) -> None:
        """Delete a topic, and create it again."""

        async def delete() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.settings.kafka_bootstrap)
            await admin.start()
            try:
                await admin.delete_topics([self.settings.topic(topic)])
            finally:
                await admin.close()

        async def create() -> bool:
            return (await apply_topics(self.settings))[self.settings.topic(topic)] == "created"

        asyncio.run(delete())
        until_sync(lambda: asyncio.run(create()), 20.0, "the deleted topic is gone")

    def register(self, model_id: str = MODEL, version: str = VERSION, *, publish: bool = True) -> ModelRegistered:
        """Put a version with a baseline of 5,000 rows into the store, and tell."""
        random = np.random.default_rng(7)
        good = ["good"] * 1000
        baseline = build_baseline(columns(random, 5000), SIGNATURE, predictions=good, labels=good[:950] + ["bad"] * 50)
        folder = self.settings.data_dir / "version" / model_id / version
        folder.mkdir(parents=True)
        (folder / BASELINE_NAME).write_bytes(baseline.to_bytes())
        (folder / "model.onnx").write_bytes(b"not looked at by the monitor")
        files = tuple(
            ManifestFile(path=p.name, size=p.stat().st_size, sha256=file_sha256(p), is_model=p.suffix == ".onnx")
            for p in sorted(folder.iterdir())
        )
        manifest = Manifest(
            model_id=model_id,
            framework="onnx",
            files=files,
            content_digest=content_digest(files),
            signature=SIGNATURE,
            created_at=datetime.now(UTC),
        )
        prefix = f"models/{model_id}/{version}"
        store = LocalStore(self.settings.data_dir / "artifacts")
        for path in folder.iterdir():
            store.put_file(f"{prefix}/{path.name}", path)
        store.put_bytes(f"{prefix}/{MANIFEST_NAME}", manifest.to_bytes())
        message = ModelRegistered(
            model_id=model_id,
            version=version,
            artifact=prefix,
            manifest_digest=manifest.manifest_digest,
            content_digest=manifest.content_digest,
        )
        if publish:
            self.publish([message])
        return message

    def publish(self, messages: Sequence[Message]) -> None:
        """Produce messages as our own services do."""

        async def send() -> None:
            async with _Sending(self.settings) as producer:
                futures = []
                for message in messages:
                    content_type, body = encode(message)
                    envelope = Envelope(
                        id=new_id(),
                        source="/test",
                        type=message.TYPE,
                        time=datetime.now(UTC),
                        subject=message.key,
                        content_type=content_type,
                    )
                    topic = topic_of(type(message)).name
                    futures.append(producer.send(topic, body, key=message.key.encode(), headers=to_headers(envelope)))
                await asyncio.gather(*futures)

        asyncio.run(send())

    def publish_json(self, values: Sequence[bytes | dict[str, Any]]) -> None:
        """Produce hand-made records: no headers, no key."""

        async def send() -> None:
            async with _Sending(self.settings) as producer:
                bodies = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
                await asyncio.gather(*(producer.send("predictions", body) for body in bodies))

        asyncio.run(send())

    def read(self, topic: str) -> list[Message]:
        """Every message that a topic holds."""

        async def collect() -> list[Message]:
            return [record.message()[1] async for record in read_to_end(self.settings, topic)]

        return asyncio.run(collect())

    def raw(self, topic: str) -> list[bytes]:
        """Every value that a topic holds."""

        async def collect() -> list[bytes]:
            return [record.value or b"" async for record in read_to_end(self.settings, topic)]

        return asyncio.run(collect())

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 40.0) -> Any:
        """Wait for `condition`; the process's log is the explanation when it does not come."""
        try:
            return until_sync(condition, seconds, what)
        except TimeoutError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-4000:]}") from error


class _Sending:
    def __init__(self, settings: Settings) -> None:
        self._producer = Producer(settings, "test")

    async def __aenter__(self) -> Producer:
        await self._producer.start()
        return self._producer

    async def __aexit__(self, *_: object) -> None:
        await self._producer.stop()
