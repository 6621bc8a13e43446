"""The loop with the real registry, monitor and broker: promoted, rejected and rolled back.

The trainer's and a replica's messages are written by hand, as anybody may; the demo's test has them from the real ones.
"""

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from schemas.base import Message
from schemas.baseline import build_baseline
from schemas.codec import encode
from schemas.commands import TrainingRequested
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import (
    Comparison,
    DriftFound,
    JobSucceeded,
    Label,
    LabelsObserved,
    LoadedVersion,
    LoopStepped,
    ModelPromoted,
    ReplicaStatus,
    SignalState,
    Window,
)
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.manifest import BASELINE_NAME, Lineage
from schemas.topics import topic_of
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.bus.producer import Producer
from services.kernel.bus.tail import read_to_end
from services.kernel.storage import open_store
from services.registry.untrusted.inspection import Limits, infer_signature, inspect_graph
from tests.graphs import classifier, save
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.cluster import LocalCluster
from trimtab.local.ports import free_ports
from trimtab.local.settings import LocalSettings

MODEL = "threat-classifier"
ROWS = 60
LOOP = {
    "TRIMTAB_LOOP_MIN_ROWS": str(ROWS),
    "TRIMTAB_LOOP_CANARY_SECONDS": "0",
    "TRIMTAB_LOOP_CANARY_REQUESTS": "10",
    "TRIMTAB_LOOP_TICK_SECONDS": "0.1",
}


class World:
    """What stands around the loop: a trainer, a replica and callers, by hand."""

    def __init__(self, cluster: LocalCluster, producer: Producer, folder: Path) -> None:
        self.settings = cluster.settings
        self.producer = producer
        self.folder = folder
        self.http = httpx.AsyncClient(timeout=30, trust_env=False)

    async def say(self, message: Message) -> Envelope:
        """Publish a message as our own services do."""
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
        await self.producer.send(topic, body, key=message.key.encode(), headers=to_headers(envelope))
        return envelope

    async def heard(self, kind: type[Message]) -> list[tuple[Envelope, Any]]:
        """Every message of a type, with its envelope."""
        found = []
        async for record in read_to_end(self.settings, topic_of(kind).name):
            envelope, message = record.message()
            if isinstance(message, kind):
                found.append((envelope, message))
        return found

    async def train(self, job_id: str, seed: int, cycle_id: str | None = None, better: int = 0) -> None:
        """A finished job; `better` of 200 held-out rows only the challenger got right."""
        folder = self.folder / job_id
        folder.mkdir()
        signature = infer_signature(inspect_graph(save(classifier(seed), folder / "model.onnx"), Limits()))
        random = np.random.default_rng(0)
        columns = {"duration": random.normal(size=500).astype(np.float32), "protocol": ["tcp"] * 500}
        (folder / BASELINE_NAME).write_bytes(build_baseline(columns, signature).to_bytes())
        manifest = build_manifest(
            folder,
            model_id=MODEL,
            framework="keras",
            signature=signature,
            metrics={"accuracy": 0.9},
            lineage=Lineage(job_id=job_id, cycle_id=cycle_id),
        )
        digest = write_manifest(folder, manifest)
        store_version(open_store(self.settings), folder, f"models/{MODEL}/{job_id}")
        comparison = Comparison(
            rows=200,
            dataset_digest="d",
            champion_version=await self.production() if cycle_id else "1.0.0",
            champion_accuracy=0.5,
            challenger_accuracy=0.5 + better / 200,
            both_correct=100,
            only_champion=0,
            only_challenger=better,
            neither=100 - better,
        )
        await self.say(
            JobSucceeded(
                job_id=job_id,
                model_id=MODEL,
                job=TrainingJob(model_type=MODEL, dataset_config=DatasetConfig(train_path="/data/train.csv")),
                artifact=f"models/{MODEL}/{job_id}",
                manifest_digest=digest,
                content_digest=manifest.content_digest,
                dataset_digest="d",
                metrics={"accuracy": 0.9},
                cycle_id=cycle_id,
                comparison=comparison if cycle_id else None,
            )
        )

    async def get(self, service: str, path: str) -> Any:
        """The JSON of a GET, or None for an unknown thing."""
        answer = await self.http.get(self.settings.url_of(service) + path)
        return answer.json() if answer.status_code == 200 else None

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """POST to the registry."""
        answer = await self.http.post(self.settings.url_of("registry") + path, json=body)
        assert answer.status_code < 300, answer.text
        return answer.json()

    async def production(self) -> str:
        """The version in production."""
        return str((await self.get("registry", f"/mlops/deployments/{MODEL}"))["routes"][0]["version"])

    async def deploy_champion(self) -> str:
        """A first version, trained, promoted, deployed, with labelled predictions; returns it."""
        await self.train("job-0", seed=0)
        versions = await until(lambda: self.get("registry", f"/mlops/models/{MODEL}"), 30, "the version")
        version = str(versions["versions"][0]["version"])
        for stage in ("staging", "production"):
            await self.post(f"/mlops/models/{MODEL}/{version}/promote", {"stage": stage})
        await self.post("/mlops/deploy", {"model_id": MODEL})
        for number in range(ROWS):
            prediction = {
                "model_id": MODEL,
                "version": version,
                "prediction_id": f"p{number}",
                "input": {"duration": float(number), "protocol": "tcp"},
                "prediction": "0",
            }
            await self.producer.send("predictions", json.dumps(prediction).encode(), key=MODEL.encode())
        labels = tuple(Label(prediction_id=f"p{number}", label="1") for number in range(ROWS))
        await self.say(LabelsObserved(model_id=MODEL, labels=labels))
        await until(lambda: self.get("loop", f"/mlops/loop/{MODEL}"), 20, "the loop knows the model")
        return version

    async def drift(self, version: str) -> Envelope:
        """A signal about `version`."""
        window = Window(start=datetime.now(UTC) - timedelta(hours=1), end=datetime.now(UTC), rows=ROWS)
        return await self.say(
            DriftFound(
                signal_id="s1",
                model_id=MODEL,
                version=version,
                state=SignalState.RAISED,
                window=window,
                baseline_rows=500,
                features=(),
                judged_features=2,
                explanation="duration: PSI 0.41",
                first_window=window,
            )
        )

    async def requested(self) -> TrainingRequested:
        """The training that the loop asked for."""
        found = await until(lambda: self.heard(TrainingRequested), 30, "TrainingRequested")
        request: TrainingRequested = found[0][1]
        return request

    async def replica(self, **versions: tuple[str, int, int]) -> None:
        """A replica's report: version -> (state, requests, errors); it serves the newest wanted revision."""
        wanted = await self.get("registry", f"/mlops/deployments/{MODEL}")
        now = datetime.now(UTC)
        loaded = tuple(
            LoadedVersion(
                model_id=MODEL,
                version=v,
                state=s,
                detail="no memory",
                since=now,
                requests=r,
                errors=e,
            )
            for v, (s, r, e) in versions.items()
        )
        await self.say(
            ReplicaStatus(
                replica="replica-1",
                incarnation="i",
                url="http://127.0.0.1:1",
                at=now,
                converged={MODEL: wanted["revision"]},
                versions=loaded,
            )
        )

    async def cycle(self) -> dict[str, Any]:
        """The newest cycle."""
        found: dict[str, Any] = (await self.get("loop", f"/mlops/loop/{MODEL}"))["cycles"][0]
        return found

    async def reaches(self, step: str) -> dict[str, Any]:
        """Wait for a step."""

        async def there() -> dict[str, Any] | None:
            cycle = await self.cycle()
            return cycle if cycle["step"] == step else None

        return dict(await until(there, 30, f"the step {step}"))  # type: ignore[arg-type]


@pytest.fixture
async def world(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> AsyncIterator[World]:
    """Registry, monitor and loop as processes."""
    registry, monitor, loop, metrics = free_ports(4)
    settings = LocalSettings(
        kafka_bootstrap=broker.bootstrap,
        topic_prefix=topic_prefix,
        topic_partitions=1,
        data_dir=tmp_path / "data",
        registry_port=registry,
        monitor_port=monitor,
        loop_port=loop,
        metrics_port=metrics,
    )
    async with LocalCluster(settings, only=("registry", "monitor", "loop"), environment=LOOP) as cluster:
        producer = Producer(settings, "test")
        await producer.start()
        made = World(cluster, producer, tmp_path)
        yield made
        await made.http.aclose()
        await producer.stop()


async def test_a_better_challenger_is_rolled_out_and_promoted(world: World) -> None:
    champion = await world.deploy_champion()
    signal = await world.drift(champion)
    request = await world.requested()
    assert request.job.holdout is not None
    assert request.job.holdout.champion_version == champion
    assert request.job.holdout.path.startswith("artifact:datasets/")
    assert request.cycle_id is not None
    await world.train(request.job_id, seed=1, cycle_id=request.cycle_id, better=40)
    cycle = await world.reaches("canary")
    challenger = cycle["challenger_version"]
    await world.replica(**{champion: ("ready", 100, 0), challenger: ("ready", 0, 0)})
    await world.replica(**{champion: ("ready", 180, 0), challenger: ("ready", 20, 0)})
    await world.reaches("rolling_out")
    await world.replica(**{challenger: ("ready", 30, 0)})
    cycle = await world.reaches("promoted")
    assert [step["step"] for step in cycle["steps"]] == [
        "noticed",
        "gathering",
        "training",
        "proving",
        "canary",
        "rolling_out",
        "promoted",
    ]
    assert (await world.get("registry", f"/mlops/models/{MODEL}/{challenger}"))["stage"] == "production"
    assert (await world.get("registry", f"/mlops/models/{MODEL}/{champion}"))["stage"] == "archived"
    deployment = await world.get("registry", f"/mlops/deployments/{MODEL}")
    assert [(route["version"], route["weight"]) for route in deployment["routes"]] == [(challenger, 100.0)]
    told = await world.heard(LoopStepped)
    assert (told[0][0].causation_id, told[0][1].step.value) == (signal.id, "noticed")
    by_id = {envelope.id for envelope, _ in told}
    assert {envelope.correlation_id for envelope, message in told[:3]} == {signal.id}
    assert all(envelope.causation_id in by_id for envelope, _ in told[1:3])
    moved = [envelope for envelope, message in await world.heard(ModelPromoted) if message.version == challenger]
    assert {envelope.correlation_id for envelope in moved} == {told[3][0].correlation_id}
    assert all(envelope.causation_id in by_id for envelope in moved), "an HTTP call names its cause as well"
    await world.drift(challenger)
    assert (await world.cycle())["cycle_id"] == cycle["cycle_id"], "the cool-down holds"


async def test_a_challenger_that_is_not_better_changes_nothing(world: World) -> None:
    champion = await world.deploy_champion()
    await world.drift(champion)
    request = await world.requested()
    await world.train(request.job_id, seed=1, cycle_id=request.cycle_id, better=2)
    cycle = await world.reaches("rejected")
    assert "not significantly better" in cycle["steps"][-1]["explanation"]
    assert await world.production() == champion


@pytest.mark.parametrize("fault", ["cannot load", "errs"])
async def test_a_bad_canary_is_rolled_back(world: World, fault: str) -> None:
    champion = await world.deploy_champion()
    await world.drift(champion)
    request = await world.requested()
    await world.train(request.job_id, seed=1, cycle_id=request.cycle_id, better=40)
    challenger = (await world.reaches("canary"))["challenger_version"]
    report = ("failed", 0, 0) if fault == "cannot load" else ("ready", 20, 10)
    await world.replica(**{champion: ("ready", 100, 0), challenger: report})
    cycle = await world.reaches("rolled_back")
    assert ("no memory" if fault == "cannot load" else "50.00%") in cycle["steps"][-1]["explanation"]
    deployment = await world.get("registry", f"/mlops/deployments/{MODEL}")
    assert [(route["version"], route["weight"]) for route in deployment["routes"]] == [(champion, 100.0)]


@pytest.mark.parametrize("how", ["at the canary", "at the rollout"])
async def test_a_persons_deployment_wins(world: World, how: str) -> None:
    champion = await world.deploy_champion()
    await world.drift(champion)
    request = await world.requested()
    await world.train(request.job_id, seed=1, cycle_id=request.cycle_id, better=40)
    challenger = (await world.reaches("canary"))["challenger_version"]
    if how == "at the rollout":
        await world.replica(**{champion: ("ready", 100, 0), challenger: ("ready", 20, 0)})
        await world.reaches("rolling_out")
    weights = {champion: 50, challenger: 50}
    theirs = await world.post("/mlops/deploy", {"model_id": MODEL, "weights": weights, "reason": "I know better"})
    cycle = await world.reaches("superseded")
    assert f"revision {theirs['revision']}" in cycle["steps"][-1]["explanation"]
    assert theirs["actor"] in cycle["steps"][-1]["explanation"]
    await world.replica(**{champion: ("ready", 200, 0), challenger: ("ready", 200, 0)})
    deployment = await world.get("registry", f"/mlops/deployments/{MODEL}")
    assert deployment["revision"] == theirs["revision"]
    assert (await world.get("registry", f"/mlops/models/{MODEL}/{challenger}"))["stage"] == "staging"
