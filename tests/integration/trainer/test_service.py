"""The trainer on the real broker: a job from the request to the events, and every way in which it can end."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.commands import TrainingCancelled, TrainingRequested
from schemas.events import JobCancelled, JobFailed, JobProgress, JobStarted, JobSucceeded
from schemas.jobs import TrainingJob
from services.kernel.artifacts import load_version, read_manifest
from services.kernel.storage import open_store
from tests.integration.trainer.rows import job_document, long_job, write_rows
from tests.integration.trainer.running import (
    running_trainer,
    trainer_settings,
    training_processes,
    watched_events,
)
from tests.waiting import until
from trimtab.local.broker import LocalBroker

pytestmark = pytest.mark.timeout(240)


async def test_a_job_from_the_request_to_the_stored_version(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    settings = trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data")
    job = job_document(write_rows(tmp_path / "train.csv", 400), description="a line", tags={"team": "blue"})
    async with running_trainer(settings) as trainer, watched_events(settings) as events:
        job_id = await trainer.submit(job, **{"Idempotency-Key": "once"})
        assert await trainer.submit(job, **{"Idempotency-Key": "once"}) == job_id
        other = job_document(tmp_path / "train.csv", modelType="other")
        again = await trainer.http.post("/mlops/train", json=other, headers={"Idempotency-Key": "once"})
        assert again.status_code == 409

        done = await trainer.until_state(job_id, "succeeded", "failed")
        assert done["state"] == "succeeded", done["detail"]
        assert done["metrics"]["accuracy"] > 0.85
        assert [epoch["epoch"] for epoch in done["history"]] == list(range(1, len(done["history"]) + 1))
        assert done["job"]["model_config"]["layers"] == [16]

        (succeeded,) = await events.until(JobSucceeded)
        assert succeeded.job_id == job_id
        assert succeeded.job == TrainingJob.model_validate(job)
        assert len(events.of(JobStarted)) == 1
        assert events.of(JobProgress)[-1].epochs == 6
        revisions = [revision for revision in events.revisions if revision is not None]
        assert revisions == sorted(set(revisions))
        version = load_version(open_store(settings), succeeded.artifact, tmp_path / "cache", succeeded.manifest_digest)
        manifest = read_manifest((version / "manifest.json").read_bytes())
        assert manifest.lineage.job_id == job_id
        assert manifest.tags == {"team": "blue"}
        listed = (await trainer.http.get("/mlops/train", params={"model_id": "line"})).json()["jobs"]
        assert [item["job_id"] for item in listed] == [job_id]
    assert not list((tmp_path / "data" / "trainer" / "jobs").iterdir())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"modelConfig": {"architecture": "oracle"}}, "modelConfig.architecture"),
        ({"datasetConfig": {"trainPath": "{train}", "labelColumn": "nope"}}, "datasetConfig.labelColumn"),
        ({"trainingConfig": {"epochs": 0}}, "epochs"),
        ({"epoch": 3}, "epoch"),
    ],
)
async def test_a_document_that_does_not_fit_is_refused_by_field(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path, change: dict[str, Any], field: str
) -> None:
    train = write_rows(tmp_path / "train.csv", 20)
    if "datasetConfig" in change:
        change["datasetConfig"]["trainPath"] = str(train)
    settings = trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data")
    async with running_trainer(settings) as trainer:
        response = await trainer.http.post("/mlops/train", json=job_document(train) | change)
        assert response.status_code == 422
        assert response.headers["content-type"] == "application/problem+json"
        assert field in response.json()["detail"]
        assert (await trainer.http.get("/mlops/train")).json()["jobs"] == []
        assert (await trainer.http.get("/mlops/train/job-nowhere")).status_code == 404


async def test_requests_from_the_topic_bad_paths_and_cancellations(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    settings = trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data")
    train = write_rows(tmp_path / "train.csv", 200)
    bad = TrainingJob.model_validate(job_document(tmp_path / "nothing.csv"))
    unknown = TrainingJob.model_validate(job_document(train, modelConfig={"architecture": "oracle"}))
    endless = TrainingJob.model_validate(long_job(train))
    async with running_trainer(settings) as trainer, watched_events(settings) as events:
        requests = [
            TrainingRequested(job_id="job-bad", job=bad, cycle_id="cycle-1"),
            TrainingRequested(job_id="job-unknown", job=unknown, experiment_id="e1", trial=2),
            TrainingRequested(job_id="job-endless", job=endless, register_as_version=False),
            TrainingRequested(job_id="job-waiting", job=endless),
        ]
        await trainer.service.work.run(lambda uow: [uow.publish(request) for request in requests])
        failed = {event.job_id: event for event in await events.until(JobFailed, 2)}
        assert "nothing.csv does not exist" in failed["job-bad"].detail
        assert (failed["job-bad"].error, failed["job-bad"].cycle_id) == ("invalid-input", "cycle-1")
        assert "mlp, lstm" in failed["job-unknown"].detail
        assert (failed["job-unknown"].experiment_id, failed["job-unknown"].trial) == ("e1", 2)

        await trainer.until_state("job-endless", "running")
        await trainer.until_epoch("job-endless")
        assert (await trainer.job("job-waiting"))["state"] == "queued"
        wanted = [TrainingCancelled(job_id=name, reason="enough") for name in ("job-waiting", "job-endless", "job-x")]
        await trainer.service.work.run(lambda uow: [uow.publish(message) for message in wanted])
        cancelled = await events.until(JobCancelled, 2)
        assert {(event.job_id, event.reason) for event in cancelled} == {
            ("job-endless", "enough"),
            ("job-waiting", "enough"),
        }
        await until(lambda: not training_processes(tmp_path), 10, "no child")

        job_id = await trainer.submit(long_job(train))
        await trainer.until_epoch(job_id)
        assert (await trainer.http.delete(f"/mlops/train/{job_id}")).status_code == 202
        await trainer.until_state(job_id, "cancelled", timeout_seconds=10)
        assert (await trainer.http.delete(f"/mlops/train/{job_id}")).status_code == 409
        assert not training_processes(tmp_path)


async def test_a_killed_child_is_tried_again_and_then_fails_with_a_reason(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    settings = trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data", trainer_attempts=2)
    async with running_trainer(settings) as trainer, watched_events(settings) as events:
        job_id = await trainer.submit(long_job(write_rows(tmp_path / "train.csv", 200)))
        for attempt in (1, 2):
            await events.until(JobStarted, attempt)
            await until(lambda: training_processes(tmp_path), 20, "a child")
            for child in training_processes(tmp_path):
                child.kill()
            await until(lambda: not training_processes(tmp_path), 20, "the child's end")
        (failed,) = await events.until(JobFailed)
        assert failed.error == "worker-lost"
        assert "killed by signal 9; 2 attempts" in failed.detail
        assert (await trainer.job(job_id))["attempts"] == 2


async def test_limits_stop_a_child(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> None:
    settings = trainer_settings(
        broker.bootstrap, topic_prefix, tmp_path / "data", trainer_job_memory_bytes=256 << 20, trainer_threads=1
    )
    async with running_trainer(settings) as trainer:
        job_id = await trainer.submit(long_job(write_rows(tmp_path / "train.csv", 200)))
        failed = await trainer.until_state(job_id, "failed", "succeeded")
        assert failed["error"] == "limit-reached"
        assert "TRIMTAB_TRAINER_JOB_MEMORY_BYTES" in failed["detail"]
    assert not training_processes(tmp_path)


async def test_a_stopped_trainer_gives_its_job_back(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> None:
    settings = trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data")
    async with running_trainer(settings) as trainer:
        job_id = await trainer.submit(long_job(write_rows(tmp_path / "train.csv", 200)))
        await trainer.until_epoch(job_id)
    assert not training_processes(tmp_path)
    async with running_trainer(settings) as trainer:
        job = await trainer.until_epoch(job_id)
        assert job["attempts"] == 1
        await trainer.http.delete(f"/mlops/train/{job_id}")
        await trainer.until_state(job_id, "cancelled")


async def test_kill_9_of_the_trainer_leaves_no_orphan_and_the_job_ends(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    settings = trainer_settings(broker.bootstrap, topic_prefix, data_dir, trainer_lease_seconds=2.0)
    train = write_rows(tmp_path / "train.csv", 200)
    async with running_trainer(settings) as trainer:
        job_id = await trainer.submit(long_job(train))
        await trainer.until_state(job_id, "running")
    environment = os.environ | {
        "TRIMTAB_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TRIMTAB_TOPIC_PREFIX": topic_prefix,
        "TRIMTAB_DATA_DIR": str(data_dir),
        "TRIMTAB_TRAINER_PORT": "0",
        "TRIMTAB_TRAINER_LEASE_SECONDS": "2",
    }
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-m", "services.trainer"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        await until(lambda: training_processes(tmp_path), 30, "a child of the process")
        process.send_signal(signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        await until(lambda: not training_processes(tmp_path), 5, "the orphan's end")
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
    async with running_trainer(settings) as trainer:
        job = await trainer.until_epoch(job_id)
        assert job["attempts"] == 2  # the killed one counts, the one that was given back does not
        await trainer.http.delete(f"/mlops/train/{job_id}")
        await trainer.until_state(job_id, "cancelled")
