"""What training jobs leave in the store is looked into like any upload before it becomes a version."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from onnx import helper

from schemas.events import Alert, JobSucceeded, ModelRegistered
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.manifest import Manifest, ManifestFile, content_digest
from services.kernel.artifacts import blob_key, file_sha256, store_version, write_manifest
from services.registry.handlers import on_job_succeeded
from services.registry.keeping import garbage
from services.registry.registrar import Registrar
from services.registry.tables import condemned, registrations
from services.registry.untrusted.inspection import Limits, infer_signature, inspect_graph
from services.registry.untrusted.inspections import Inspector, find_interface, has_passed
from tests import keras_archives
from tests.contract.registry.conftest import Registry
from tests.graphs import classifier, one_op, save
from tests.waiting import until

LAMBDA = keras_archives.model(keras_archives.built_in("Lambda", function={"class_name": "__lambda__", "config": {}}))


@pytest.fixture
async def registrar(registry: Registry, tmp_path: Path) -> AsyncIterator[Registrar]:
    """The task, running."""
    service = registry.service
    inspector = Inspector(service.db, Limits(), 2)
    made = Registrar(service.db, service.work, registry.store, tmp_path / "staging", inspector)
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def left(registry: Registry, folder: Path, job_id: str, files: dict[str, bytes]) -> JobSucceeded:
    """What a job says of an artifact with `files` that it has left in the store. Blocking."""
    folder.mkdir()
    honest = save(classifier(), folder.with_name(f"{job_id}.onnx"))
    kept = []
    for name, data in {"model.onnx": honest.read_bytes(), **files}.items():
        (folder / name).write_bytes(data)
        digest = file_sha256(folder / name)
        kept.append(ManifestFile(path=name, size=len(data), sha256=digest, is_model=name == "model.onnx"))
    manifest = Manifest(
        model_id="m",
        framework="onnx",
        files=tuple(kept),
        content_digest=content_digest(kept),
        signature=infer_signature(inspect_graph(honest, Limits())),
        created_at="2026-01-01T00:00:00Z",
    )
    artifact = f"models/m/{job_id}"
    message = JobSucceeded(
        job_id=job_id,
        model_id="m",
        job=TrainingJob(model_type="m", dataset_config=DatasetConfig(train_path="/data/train.csv")),
        artifact=artifact,
        manifest_digest=write_manifest(folder, manifest),
        content_digest=manifest.content_digest,
        dataset_digest="0" * 64,
        metrics={},
    )
    store_version(registry.store, folder, artifact)
    return message


async def finished(registry: Registry, folder: Path, job_id: str, files: dict[str, bytes]) -> tuple[str, str | None]:
    """A job whose artifact holds `files`: the state of its registration in the end, and the error."""
    message = await asyncio.to_thread(left, registry, folder, job_id, files)
    await registry.service.work.run(lambda uow: on_job_succeeded(message, uow))

    async def ended() -> tuple[str, str | None] | None:
        query = sa.select(registrations.c.state, registrations.c.error).where(registrations.c.job_id == job_id)
        row = await registry.service.db.read(lambda connection: connection.execute(query).one())
        return None if row.state == "pending" else (row.state, row.error)

    found = await until(ended, 60, f"the end of {job_id}")
    assert found is not None
    return found


async def test_an_honest_artifact_is_registered_and_its_files_are_remembered(
    registry: Registry, registrar: Registrar, tmp_path: Path
) -> None:
    archive = keras_archives.archive()
    assert await finished(registry, tmp_path / "job", "job-1", {"model.keras": archive}) == ("done", None)
    digests = [file_sha256(tmp_path / "job" / name) for name in ("model.onnx", "model.keras")]
    assert registry.store.exists(blob_key(digests[1]))
    read = registry.service.db.read
    interface = await read(lambda connection: find_interface(connection, digests[0]))
    assert interface is not None
    assert interface.outputs[0].name == "probabilities"
    assert await read(lambda connection: has_passed(connection, digests[1]))
    assert await read(lambda connection: find_interface(connection, digests[1])) is None
    assert not await read(lambda connection: has_passed(connection, digests[0]))


async def test_a_hostile_artifact_is_refused_with_an_alert(
    registry: Registry, registrar: Registrar, tmp_path: Path
) -> None:
    foreign = one_op(helper.make_node("Run", ["x"], ["y"], domain="com.evil")).SerializeToString()
    for number, (files, says) in enumerate(
        (
            ({"model.keras": keras_archives.archive(LAMBDA)}, "keras.layers.Lambda"),
            ({"model.onnx": foreign}, "unknown domain"),
            ({"second.onnx": foreign}, "unknown domain"),
            ({"notes.txt": b"\x80\x04."}, "pickle"),
            ({"model.pkl": b"harmless"}, "nothing else"),
            ({"model.onnx": classifier(classes=4).SerializeToString()}, "probabilities"),
        )
    ):
        state, error = await finished(registry, tmp_path / f"job{number}", f"job-{number}", files)
        assert (state, says in str(error)) == ("refused", True), error
    assert await registry.events(ModelRegistered) == []
    assert len(await registry.events(Alert)) == 6
    assert not list((tmp_path / "staging").iterdir())


async def test_an_artifact_that_is_being_removed_is_waited_for(
    registry: Registry, registrar: Registrar, tmp_path: Path
) -> None:
    """The collection has claimed it, and its manifest is gone already: what the job stores again is registered."""
    message = await asyncio.to_thread(left, registry, tmp_path / "job", "job-1", {})
    claim = {"key": message.artifact, "size_bytes": 1, "at": 0.0, "claimed_at": time.time()}
    await registry.service.db.write(lambda connection: connection.execute(condemned.insert().values(claim)))
    registry.store.delete(f"{message.artifact}/manifest.json")
    await registry.service.work.run(lambda uow: on_job_succeeded(message, uow))

    async def row() -> sa.Row[Any]:
        return await registry.service.db.read(lambda connection: connection.execute(sa.select(registrations)).one())

    async def tried() -> bool:
        return bool((await row()).tries > 0 or (await row()).state != "pending")

    await until(tried, 60, "a first try")
    assert (await row()).state == "pending"
    await asyncio.to_thread(store_version, registry.store, tmp_path / "job", message.artifact)
    await registry.service.db.write(lambda connection: garbage.spare(connection, [message.artifact]))

    async def ended() -> str | None:
        state = (await row()).state
        return None if state == "pending" else str(state)

    assert await until(ended, 60, "the registration") == "done"


async def test_what_another_registry_has_settled_is_not_refused(registry: Registry, tmp_path: Path) -> None:
    """This one had begun with it too, and found its files gone."""
    db = registry.service.db
    message = await asyncio.to_thread(left, registry, tmp_path / "job", "job-1", {})
    await registry.service.work.run(lambda uow: on_job_succeeded(message, uow))
    begun = await db.read(lambda connection: connection.execute(sa.select(registrations)).one())
    registry.store.delete(f"{message.artifact}/manifest.json")
    settled = {"state": "done", "version": "1.0.20260101"}
    await db.write(lambda connection: connection.execute(registrations.update().values(settled)))
    late = Registrar(db, registry.service.work, registry.store, tmp_path / "staging", Inspector(db, Limits(), 2))
    await late._one(begun)
    row = await db.read(lambda connection: connection.execute(sa.select(registrations)).one())
    assert (row.state, row.version, row.error) == ("done", "1.0.20260101", None)
    assert await registry.events(Alert) == []
