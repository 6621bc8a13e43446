"""Kill -9 of the trainer between the upload of a version and the word that it is there.

The job is tried again and succeeds once; what the first attempt had stored is gone.
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from schemas.events import JobStarted, JobSucceeded
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import load_version
from services.kernel.bus.admin import apply_topics
from services.kernel.storage import open_store
from tests.integration.trainer.rows import job_document, write_rows
from tests.integration.trainer.running import running_trainer, trainer_settings, training_processes, watched_events
from trimtab.local.broker import LocalBroker


@pytest.mark.timeout(240)
async def test_killed_between_the_upload_and_the_event(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> None:
    settings = trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data", trainer_lease_seconds=2.0)
    await apply_topics(settings)
    train = write_rows(tmp_path / "train.csv", 200)
    async with running_trainer(settings) as trainer:
        job_id = await trainer.submit(job_document(train))
        await trainer.until_state(job_id, "running")
    environment = os.environ | {
        "TRIMTAB_KAFKA_BOOTSTRAP": broker.bootstrap,
        "TRIMTAB_TOPIC_PREFIX": topic_prefix,
        "TRIMTAB_DATA_DIR": str(tmp_path / "data"),
        "TRIMTAB_TRAINER_PORT": "0",
        "TRIMTAB_TRAINER_LEASE_SECONDS": "2",
        "TRIMTAB_FAILPOINTS": "trainer-after-upload",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.trainer", env=environment, stderr=asyncio.subprocess.DEVNULL
    )
    assert await asyncio.wait_for(process.wait(), 120) == -9
    store = open_store(settings)
    (orphan,) = [item.key for item in store.list("models") if item.key.endswith(MANIFEST_NAME)]
    async with running_trainer(settings) as trainer, watched_events(settings) as events:
        done = await trainer.until_state(job_id, "succeeded", "failed")
        assert done["state"] == "succeeded", done["detail"]
        (succeeded,) = await events.until(JobSucceeded)
        load_version(store, succeeded.artifact, tmp_path / "cache", succeeded.manifest_digest)
        assert len({event.worker for event in events.of(JobStarted)}) == 3
    kept = [item.key for item in store.list("models") if item.key.endswith(MANIFEST_NAME)]
    assert kept == [f"{succeeded.artifact}/{MANIFEST_NAME}"]
    assert orphan not in kept
    assert not training_processes(tmp_path)
