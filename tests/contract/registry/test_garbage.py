"""What nobody names is collected; what somebody names, or may be about to name, never."""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from schemas.events import JobSucceeded
from schemas.jobs import DatasetConfig, TrainingJob
from schemas.manifest import MANIFEST_NAME, Manifest
from services.kernel import lease
from services.kernel.errors import Conflict
from services.kernel.storage.s3 import S3Store
from services.registry.handlers import REFUSED, on_job_succeeded
from services.registry.keeping import garbage
from services.registry.keeping.collector import CLAIM_SECONDS, LEASE
from services.registry.tables import blob_holders, condemned, registrations
from tests.contract.registry.conftest import Registry
from tests.contract.registry.leftovers import HOUR, blob, collector, keys, leave
from tests.graphs import classifier

MODEL = "threat-classifier"
ORPHAN = f"models/{MODEL}/orphan"


async def test_the_importance_of_a_version_is_no_garbage(registry: Registry) -> None:
    """Serving keeps it beside the versions, under a folder that no manifest names."""
    await registry.version(1)
    registry.store.put_bytes(f"importance/{'ab' * 32}/shapley-1f.json", b"{}")
    before = keys(registry.store)
    report = await collector(registry).collect()
    assert (keys(registry.store), report.removed, report.waiting) == (before, 0, 0)


async def condemned_keys(registry: Registry) -> set[str]:
    return set(await registry.service.db.read(lambda c: list(c.execute(sa.select(condemned.c.key)).scalars())))


async def condemn(registry: Registry, key: str, claimed_at: float | None = None) -> None:
    def write(connection: sa.Connection) -> None:
        garbage.condemn(connection, {key: 1}, 0.0)
        connection.execute(condemned.update().where(condemned.c.key == key).values(claimed_at=claimed_at))

    await registry.service.db.write(write)


async def state_of(registry: Registry, version: str) -> str:
    answer = await registry.client.post(f"/mlops/models/{MODEL}/{version}/verify")
    assert answer.status_code == 200, answer.text
    return str(answer.json()["state"])


def succeeded(manifest: Manifest, artifact: str) -> JobSucceeded:
    return JobSucceeded(
        job_id="job-1",
        model_id=MODEL,
        job=TrainingJob(model_type=MODEL, dataset_config=DatasetConfig(train_path="/data/train.csv")),
        artifact=artifact,
        manifest_digest=manifest.manifest_digest,
        content_digest=manifest.content_digest,
        dataset_digest="d" * 64,
        metrics={},
    )


async def test_what_no_version_names_is_collected(registry: Registry) -> None:
    version = await registry.version(1)
    before = keys(registry.store)
    leave(registry.store, ORPHAN, {"notes.md": b"nobody will read this"})
    registry.store.put_bytes(blob(b"a lone blob"), b"a lone blob")
    report = await collector(registry).collect()
    assert keys(registry.store) == before
    assert report.removed == 4  # the folder, its two files, the lone blob
    assert report.removed_bytes > len(b"a lone blob")
    assert report.waiting == report.spared == 0
    assert await state_of(registry, version) == "ok"
    assert not await registry.service.db.read(lambda c: garbage.known(c, [ORPHAN]))
    again = await collector(registry).collect()
    assert (again.condemned, again.removed) == (0, 0)


async def test_bytes_that_a_version_shares_stay(registry: Registry) -> None:
    leave(registry.store, ORPHAN, {"notes.md": b"of both", "more.md": b"of the orphan"})
    await registry.register(graph=classifier(99), files={"notes.md": b"of both"})
    await collector(registry).collect()
    found = keys(registry.store, "blobs")
    assert blob(b"of both") in found
    assert blob(classifier(99).SerializeToString()) in found
    assert blob(b"of the orphan") not in found


async def test_a_dry_run_changes_nothing_and_names_what_it_would_take(registry: Registry) -> None:
    leave(registry.store, ORPHAN)
    before = keys(registry.store)
    report = await collector(registry).collect(dry_run=True)
    assert report.keys == [ORPHAN]
    assert report.condemned == 1, "the folder holds its bytes until it is gone itself"
    assert keys(registry.store) == before
    assert await condemned_keys(registry) == set()


async def test_nothing_young_is_touched(registry: Registry) -> None:
    leave(registry.store, ORPHAN)
    registry.store.put_bytes(blob(b"young"), b"young")
    before = keys(registry.store)
    report = await collector(registry, HOUR, HOUR).collect()
    assert (report.condemned, report.removed) == (0, 0)
    assert keys(registry.store) == before


async def test_the_model_of_a_job_waits_longer_than_an_upload(registry: Registry) -> None:
    leave(registry.store, ORPHAN, job_id="trial-7")
    before = keys(registry.store)
    await collector(registry, 0.0, HOUR).collect()
    assert keys(registry.store) == before
    await collector(registry).collect()
    assert keys(registry.store) == set()


async def test_a_registration_that_waits_holds_its_artifact(registry: Registry) -> None:
    manifest = leave(registry.store, ORPHAN, job_id="job-1")
    await registry.service.work.run(lambda uow: on_job_succeeded(succeeded(manifest, ORPHAN), uow))
    before = keys(registry.store)
    await collector(registry).collect()
    assert keys(registry.store) == before
    await registry.service.db.write(lambda c: c.execute(registrations.update().values(state=REFUSED)))
    await collector(registry).collect()
    assert keys(registry.store) == set()


async def test_what_is_not_ours_is_left_alone(registry: Registry) -> None:
    others = {"datasets/7/data.parquet", "predictions/m/1.parquet", "blobs/README", "blobs/ab/notes", "models/README"}
    for key in others:
        registry.store.put_bytes(key, b"of another service")
    await collector(registry).collect()
    assert keys(registry.store) == others


async def test_a_folder_without_a_manifest_is_collected(registry: Registry) -> None:
    registry.store.put_bytes(f"{ORPHAN}/model.onnx", b"half a version of the old layout")
    registry.store.put_bytes(f"{ORPHAN}/deeper/notes.md", b"")
    await collector(registry).collect()
    assert keys(registry.store) == set()


async def test_an_unreadable_manifest_harms_nobody(registry: Registry) -> None:
    version = await registry.version(1)
    registry.store.put_bytes(f"{ORPHAN}/{MANIFEST_NAME}", b"\xff not a manifest")
    await collector(registry, HOUR, HOUR).collect()
    assert await state_of(registry, version) == "ok"
    await collector(registry).collect()
    assert not keys(registry.store, ORPHAN)


async def test_registering_rescues_what_is_condemned(registry: Registry) -> None:
    key = blob(classifier(5).SerializeToString())
    registry.store.put_bytes(key, classifier(5).SerializeToString())
    await condemn(registry, key)
    version = await registry.version(5)
    assert await condemned_keys(registry) == set()
    await collector(registry).collect()
    assert await state_of(registry, version) == "ok"


async def test_bytes_that_are_being_removed_must_be_sent_again(registry: Registry) -> None:
    data = classifier(5).SerializeToString()
    registry.store.put_bytes(blob(data), data)
    await condemn(registry, blob(data), claimed_at=time.time())
    refused = await registry.register(graph=classifier(5))
    assert refused.status_code == 503
    assert refused.json()["code"] == "being-collected"
    assert "retry-after" in refused.headers
    assert not keys(registry.store, "models"), "a refused upload leaves no manifest"
    # the process that claimed it ends its work
    registry.store.delete(blob(data))
    await registry.service.db.write(lambda c: garbage.spare(c, [blob(data)]))
    version = await registry.version(5)
    assert await state_of(registry, version) == "ok"


async def test_the_claims_of_a_dead_process_are_taken_over(registry: Registry) -> None:
    for name, age_seconds in ((b"dead", CLAIM_SECONDS + 60), (b"alive", 10.0)):
        registry.store.put_bytes(blob(name), name)
        await condemn(registry, blob(name), claimed_at=time.time() - age_seconds)
    await collector(registry).collect()
    assert keys(registry.store) == {blob(b"alive")}
    assert await condemned_keys(registry) == {blob(b"alive")}


async def test_a_claim_is_not_made_on_what_is_named_after_all(registry: Registry) -> None:
    """A registration that was not committed when its bytes were condemned did not see the condemnation."""
    version = await registry.version(5)
    key = blob(classifier(5).SerializeToString())
    await condemn(registry, key)
    report = await collector(registry).collect()
    assert report.spared == 1
    assert await condemned_keys(registry) == set()
    assert await state_of(registry, version) == "ok"


async def test_what_was_used_again_since_it_was_condemned_is_spared(registry: Registry) -> None:
    registry.store.put_bytes(blob(b"young again"), b"young again")
    await condemn(registry, blob(b"young again"))
    report = await collector(registry, HOUR, HOUR).collect()
    assert (report.removed, report.spared) == (0, 1)
    assert keys(registry.store) == {blob(b"young again")}


async def test_one_process_collects_at_a_time(registry: Registry) -> None:
    await registry.service.db.write(lambda c: lease.acquire(c, LEASE, "another process", 60.0))
    with pytest.raises(Conflict, match="another process"):
        await collector(registry).collect()


async def test_the_route_collects_and_says_what(registry: Registry) -> None:
    answer = await registry.client.post("/mlops/garbage")
    assert answer.status_code == 503, "without a broker nothing is collected"
    assert "waits" in answer.json()["detail"]
    registry.service.state["collector"] = collector(registry)
    leave(registry.store, ORPHAN)
    dry = (await registry.client.post("/mlops/garbage", json={"dry_run": True})).json()
    assert dry["dry_run"]
    assert dry["keys"] == [ORPHAN]
    done = (await registry.client.post("/mlops/garbage", json={})).json()
    assert done["removed"] == 2
    assert keys(registry.store) == set()
    assert (await registry.client.post("/mlops/garbage", json={"dryrun": True})).status_code == 422


async def test_listings_beyond_a_thousand_objects(registry: Registry) -> None:
    """S3 lists 1,000 objects a request (mlflow#14654: what lay beyond them was never collected)."""
    version = await registry.version(1)
    lone = [f"blob {number}".encode() for number in range(2_500)]
    folders = [f"models/{MODEL}/left-{number}/{MANIFEST_NAME}" for number in range(1_100)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda data: registry.store.put_bytes(blob(data), data), lone))
        list(pool.map(lambda key: registry.store.put_bytes(key, b"{}"), folders))
    report = await collector(registry).collect()
    assert (report.blobs, report.folders) == (2_501, 1_101)
    assert report.removed == 3_600
    assert len(keys(registry.store)) == 2
    assert await state_of(registry, version) == "ok"


async def test_unfinished_writes_are_ended(registry: Registry) -> None:
    store = registry.store
    if isinstance(store, S3Store):
        store.client.create_multipart_upload(Bucket=store.bucket, Key=blob(b"never"))
        store.client.create_multipart_upload(Bucket=store.bucket, Key="datasets/of-another")
    else:
        root = registry.service.settings.data_dir / "artifacts" / ".incoming"
        root.joinpath("half").write_bytes(b"half")
    assert store.end_writes("blobs", datetime.now(UTC) - timedelta(hours=1)) == 0
    report = await collector(registry, -10.0).collect()  # the server's clock may be a little ahead
    assert report.uploads_ended == 1
    assert (await collector(registry, -10.0).collect()).uploads_ended == 0


async def test_uploads_straight_to_the_store_that_nobody_knows_are_ended(registry: Registry) -> None:
    """The registry that began them, and its disk, are gone."""
    store = registry.store
    orphans = {f"incoming/{uuid.uuid4().hex}" for _ in range(2)}
    others = {"incoming/README", f"incoming/deeper/{uuid.uuid4().hex}"}
    for key in orphans | others:
        store.put_bytes(key, b"came whole, and nobody looked at it")
    if store.direct is not None:
        upload = store.direct.begin(f"incoming/{uuid.uuid4().hex}")
        assert upload
    assert (await collector(registry, -10.0, 0.0, HOUR).collect()).uploads_ended == 0, "they may be open an hour"
    assert (await collector(registry, HOUR, HOUR, -10.0).collect()).uploads_ended == 0, "and a grace longer"
    assert orphans <= keys(store)
    ended = (await collector(registry, -10.0).collect()).uploads_ended
    if store.direct is None:
        assert (ended, keys(store)) == (0, orphans | others), "a folder takes no such uploads: these are another's"
    else:
        assert (ended, keys(store)) == (3, others)
        assert (await collector(registry, -10.0).collect()).uploads_ended == 0


async def test_holders_follow_the_registrations(registry: Registry) -> None:
    version = await registry.version(1)
    answer = (await registry.client.get(f"/mlops/models/{MODEL}/{version}")).json()
    rows = await registry.service.db.read(lambda c: c.execute(sa.select(blob_holders)).all())
    assert {(row.sha256, row.artifact) for row in rows} == {(f["sha256"], answer["artifact"]) for f in answer["files"]}


async def test_a_manifest_that_is_being_removed_must_be_sent_again(registry: Registry) -> None:
    """The place of a manifest whose time was said is the same at every attempt: an earlier one's may be claimed."""
    said = {"created_at": "2026-01-01T00:00:00Z", "graph": classifier(5)}
    version = (await registry.register(**said)).json()["version"]
    place = (await registry.client.get(f"/mlops/models/{MODEL}/{version}")).json()["artifact"]
    archive = (await registry.client.get(f"/mlops/models/{MODEL}/{version}/export")).content
    registry.store.delete(f"{place}/manifest.json")
    await condemn(registry, place, claimed_at=time.time())
    tar = {"Content-Type": "application/x-tar"}
    for _ in range(2):
        for refused in (
            await registry.register(**said),
            await registry.client.post("/mlops/models/import", content=archive, headers=tar),
        ):
            assert (refused.status_code, refused.json()["code"]) == (503, "being-collected")
    assert not keys(registry.store, "models"), "nothing was stored where the collector removes"
    await registry.service.db.write(lambda c: garbage.spare(c, [place]))
    assert await state_of(registry, (await registry.register(**said)).json()["version"]) == "ok"
