"""From a finished job to a registered version, and from a wanted state to the compacted topic, over the real broker."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import sqlalchemy as sa

from schemas.base import Message
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import (
    Alert,
    DeploymentWanted,
    JobSucceeded,
    LoadedVersion,
    ModelRegistered,
    ReplicaStatus,
)
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.manifest import Lineage, Manifest
from schemas.topics import topic_of
from services.kernel.artifacts import blob_key, build_manifest, file_sha256, store_version, write_manifest
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.bus.tail import read_to_end
from services.kernel.migrate import migrate
from services.kernel.service import Service
from services.kernel.storage import ArtifactStore, open_store
from services.registry.app import build
from services.registry.handlers import on_job_succeeded
from services.registry.settings import RegistrySettings
from services.registry.tables import registrations
from services.registry.untrusted.inspection import Limits, infer_signature, inspect_graph
from tests.graphs import classifier, save
from tests.waiting import until
from trimtab.local.broker import LocalBroker

MODEL = "threat-classifier"

M = TypeVar("M", bound=Message)


@pytest.fixture
async def settings(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> RegistrySettings:
    """Settings of a registry with topics of its own."""
    settings = RegistrySettings(kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, data_dir=tmp_path / "data")
    await apply_topics(settings)
    return settings


@pytest.fixture
async def producer(settings: RegistrySettings) -> AsyncIterator[Producer]:
    """The rest of the world."""
    producer = Producer(settings, "test")
    await producer.start()
    yield producer
    await producer.stop()


@pytest.fixture
async def service(settings: RegistrySettings) -> AsyncIterator[Service]:
    """A running registry, in this process."""
    service = build(settings)
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def client(service: Service) -> AsyncIterator[httpx.AsyncClient]:
    """Its routes."""
    assert service.app is not None
    transport = httpx.ASGITransport(app=service.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield client


def trained(store: ArtifactStore, folder: Path, job_id: str, seed: int = 0) -> JobSucceeded:
    """What a trainer leaves in the store, and says."""
    folder.mkdir()
    graph = save(classifier(seed), folder / "model.onnx")
    manifest: Manifest = build_manifest(
        folder,
        model_id=MODEL,
        framework="keras",
        signature=infer_signature(inspect_graph(graph, Limits())),
        metrics={"val_accuracy": 0.99},
        lineage=Lineage(job_id=job_id, dataset_digest="d" * 64, cycle_id="cycle-1"),
    )
    digest = write_manifest(folder, manifest)
    prefix = f"models/{MODEL}/{job_id}.1"
    store_version(store, folder, prefix)
    return JobSucceeded(
        job_id=job_id,
        model_id=MODEL,
        job=TrainingJob(model_type=MODEL, dataset_config=DatasetConfig(train_path="/data/train.csv")),
        artifact=prefix,
        manifest_digest=digest,
        content_digest=manifest.content_digest,
        dataset_digest="d" * 64,
        metrics={"val_accuracy": 0.99},
        cycle_id="cycle-1",
    )


async def send(producer: Producer, message: Message, revision: int | None = None) -> Envelope:
    content_type, body = encode(message)
    envelope = Envelope(
        id=new_id(),
        source="/test",
        type=message.TYPE,
        time=datetime.now(UTC),
        subject=message.key,
        revision=revision,
        content_type=content_type,
    )
    topic = topic_of(type(message)).name
    await producer.send(topic, body, key=message.key.encode(), headers=to_headers(envelope))
    return envelope


async def published(settings: RegistrySettings, kind: type[M]) -> list[tuple[Envelope, M]]:
    found = []
    async for record in read_to_end(settings, topic_of(kind).name):
        envelope, message = record.message()
        if isinstance(message, kind):
            found.append((envelope, message))
    return found


async def test_a_finished_job_becomes_a_version(
    settings: RegistrySettings, service: Service, client: httpx.AsyncClient, producer: Producer, tmp_path: Path
) -> None:
    job = trained(open_store(settings), tmp_path / "job", "job-1")
    sent = await send(producer, job)
    [(envelope, event)] = await until(lambda: published(settings, ModelRegistered), 30, "ModelRegistered")
    assert (event.job_id, event.cycle_id, event.metrics) == ("job-1", "cycle-1", {"val_accuracy": 0.99})
    assert (event.artifact, event.manifest_digest) == (job.artifact, job.manifest_digest)
    assert event.version == f"1.0.{datetime.now(UTC):%Y%m%d}"
    assert (envelope.causation_id, envelope.correlation_id, envelope.subject) == (sent.id, sent.id, MODEL)
    assert envelope.revision == 1
    document = (await client.get(f"/mlops/models/{MODEL}/{event.version}")).json()
    assert (document["stage"], document["lineage"]["job_id"]) == ("draft", "job-1")


async def test_repeats_have_one_effect(
    settings: RegistrySettings, service: Service, client: httpx.AsyncClient, producer: Producer, tmp_path: Path
) -> None:
    store = open_store(settings)
    first = trained(store, tmp_path / "a", "job-1")
    second = trained(store, tmp_path / "b", "job-2")
    for message in (first, first, second, first):  # each with an event id of its own
        await send(producer, message)
    await until(lambda: _count(published(settings, ModelRegistered), 2), 30, "two versions")
    model = (await client.get(f"/mlops/models/{MODEL}")).json()
    assert {version["lineage"]["job_id"] for version in model["versions"]} == {"job-1", "job-2"}
    assert model["versions"][0]["content_digest"] == model["versions"][1]["content_digest"]


async def _count(listing: Any, wanted: int) -> bool:
    return len(await listing) == wanted


async def test_what_waited_when_the_process_died_is_registered_after_its_restart(
    settings: RegistrySettings, tmp_path: Path
) -> None:
    job = trained(open_store(settings), tmp_path / "job", "job-1")
    first = build(settings)
    settings.data_dir.mkdir(exist_ok=True)
    migrate(first.db, "services.registry.migrations")
    first.db.write_now(lambda connection: first.work.within(connection, lambda uow: on_job_succeeded(job, uow)))
    first.db.close()
    second = build(settings)
    await second.start()
    try:
        assert await until(lambda: published(settings, ModelRegistered), 30, "ModelRegistered")
    finally:
        await second.stop()


@pytest.mark.parametrize(
    "damage", ["flipped", "truncated", "missing", "absent", "pickle", "other-model", "other-digest"]
)
async def test_a_wrong_artifact_is_refused_with_an_alert(
    settings: RegistrySettings,
    service: Service,
    client: httpx.AsyncClient,
    producer: Producer,
    tmp_path: Path,
    damage: str,
) -> None:
    store = open_store(settings)
    good = trained(store, tmp_path / "good", "job-good")
    bad = trained(store, tmp_path / "bad", "job-bad", seed=1)
    key = blob_key(file_sha256(tmp_path / "bad" / "model.onnx"))
    whole = store.get_bytes(key)
    if damage == "flipped":
        store.put_bytes(key, whole[:-1] + bytes([whole[-1] ^ 1]))
    elif damage == "truncated":
        store.put_bytes(key, whole[:-1])
    elif damage == "missing":
        store.delete(key)
    elif damage == "absent":
        bad = bad.model_copy(update={"artifact": f"models/{MODEL}/nothing"})
    elif damage == "other-model":
        bad = bad.model_copy(update={"model_id": "other"})
    elif damage == "pickle":
        store.put_bytes(key, b"\x80\x04}.")
    else:
        bad = bad.model_copy(update={"manifest_digest": "0" * 64})
    await send(producer, bad)
    await send(producer, good)
    [(_, event)] = await until(lambda: published(settings, ModelRegistered), 30, "the good one")
    assert event.job_id == "job-good"
    [(_, alert)] = await until(lambda: published(settings, Alert), 30, "the alert")
    assert (alert.severity, alert.state) == ("critical", "raised")
    assert "job-bad" in alert.title
    model = (await client.get(f"/mlops/models/{MODEL}")).json()
    assert len(model["versions"]) == 1
    refused = await service.db.read(
        lambda c: c.execute(sa.select(registrations.c.error).where(registrations.c.state == "refused")).scalars().all()
    )
    assert refused == [alert.detail]


async def test_the_compacted_topic_holds_the_wanted_state(
    settings: RegistrySettings, service: Service, client: httpx.AsyncClient, producer: Producer, tmp_path: Path
) -> None:
    await send(producer, trained(open_store(settings), tmp_path / "job", "job-1"))
    [(_, event)] = await until(lambda: published(settings, ModelRegistered), 30, "ModelRegistered")
    for stage in ("staging", "production"):
        path = f"/mlops/models/{MODEL}/{event.version}/promote"
        assert (await client.post(path, json={"stage": stage})).status_code == 200
    assert (await client.post("/mlops/deploy", json={"modelId": MODEL})).status_code == 202
    [(envelope, wanted)] = await until(lambda: published(settings, DeploymentWanted), 10, "DeploymentWanted")
    assert (envelope.revision, wanted.revision) == (1, 1)
    assert [(route.version, route.weight, route.artifact) for route in wanted.routes] == [
        (event.version, 100.0, event.artifact)
    ]
    now = datetime.now(UTC)
    loaded = LoadedVersion(model_id=MODEL, version=event.version, state="ready", since=now)
    status = ReplicaStatus(
        replica="serving-1", incarnation="i", url="http://127.0.0.1:1", at=now, converged={MODEL: 1}, versions=(loaded,)
    )
    await send(producer, status)

    async def converged() -> bool:
        return bool((await client.get(f"/mlops/deployments/{MODEL}")).json()["converged"])

    await until(converged, 10, "the replica's word")


async def test_it_is_ready_and_stops(settings: RegistrySettings, service: Service, client: httpx.AsyncClient) -> None:
    await until(lambda: not service.waiting_for(), 20, "readiness")
    assert (await client.get("/readyz")).status_code == 200
