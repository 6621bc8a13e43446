"""A trainer that sleeps past its lease (SIGSTOP) and wakes (SIGCONT): its job is taken, the zombie changes nothing.

Two trainers share a database, which takes PostgreSQL: a process that sleeps inside a transaction locks a SQLite file.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.events import JobCancelled, JobProgress, JobStarted
from tests.integration.trainer.rows import long_job, write_rows
from tests.integration.trainer.running import (
    running_trainer,
    trainer_settings,
    training_processes,
    watched_events,
)
from tests.waiting import until
from trimtab.local.broker import LocalBroker


@pytest.mark.timeout(240)
async def test_a_zombie_is_fenced(broker: LocalBroker, topic_prefix: str, postgres_url: str, tmp_path: Path) -> None:
    settings = trainer_settings(
        broker.bootstrap,
        topic_prefix,
        tmp_path / "data",
        trainer_lease_seconds=2.0,
        database_url=postgres_url,
        session_timeout_seconds=6.0,
    )
    async with running_trainer(settings) as trainer:
        job_id = await trainer.submit(long_job(write_rows(tmp_path / "train.csv", 200)))
        await trainer.until_state(job_id, "running")
    environment = os.environ | {
        "TRIMTAB_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TRIMTAB_TOPIC_PREFIX": topic_prefix,
        "TRIMTAB_DATA_DIR": str(tmp_path / "data"),
        "TRIMTAB_DATABASE_URL": postgres_url,
        "TRIMTAB_TRAINER_PORT": "0",
        "TRIMTAB_SESSION_TIMEOUT_SECONDS": "6",
        "TRIMTAB_TRAINER_LEASE_SECONDS": "2",
    }
    process = await asyncio.to_thread(
        subprocess.Popen, [sys.executable, "-m", "services.trainer"], env=environment, stderr=subprocess.DEVNULL
    )
    try:
        await until(lambda: training_processes(tmp_path, process.pid), 30, "the first trainer's child")
        process.send_signal(signal.SIGSTOP)
        async with running_trainer(settings) as trainer, watched_events(settings) as events:
            await until(lambda: len({event.worker for event in events.of(JobStarted)}) == 3, 60, "a third worker")
            job = await trainer.until_epoch(job_id)
            assert job["attempts"] == 2
            process.send_signal(signal.SIGCONT)
            await until(lambda: not training_processes(tmp_path, process.pid), 20, "the end of the zombie's child")
            seen = len(events.of(JobProgress))
            await until(lambda: len(events.of(JobProgress)) > seen, 30, "progress of the new holder")
            assert (await trainer.job(job_id))["state"] == "running"
            await trainer.http.delete(f"/mlops/train/{job_id}")
            await trainer.until_state(job_id, "cancelled")
            await events.until(JobCancelled)
            assert len(events.of(JobCancelled)) == 1
            revisions = [revision for revision in events.revisions if revision is not None]
            assert len(revisions) == len(set(revisions))
    finally:
        process.send_signal(signal.SIGCONT)
        process.kill()
        await asyncio.to_thread(process.wait)
