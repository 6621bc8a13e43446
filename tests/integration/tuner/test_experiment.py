"""Experiments on the real broker, with a real trainer beside the tuner."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.commands import TrainingRequested
from services.kernel.service import Service
from services.tuner.app import build
from services.tuner.settings import TunerSettings
from tests.integration.trainer.rows import job_document, long_job, write_rows
from tests.integration.trainer.running import running_trainer, trainer_settings, watched_events
from tests.waiting import until
from trimtab.local.broker import LocalBroker

pytestmark = pytest.mark.timeout(240)

SPACE = {
    "learning_rate": {"type": "log_uniform", "low": 0.001, "high": 0.1},
    "batch_size": {"type": "categorical", "choices": [16, 32]},
}


def _settings(broker: LocalBroker, topic_prefix: str, folder: Path) -> TunerSettings:
    return TunerSettings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=1, data_dir=folder / "data"
    )


@contextlib.asynccontextmanager
async def running_tuner(settings: TunerSettings) -> AsyncIterator[tuple[Service, httpx.AsyncClient]]:
    """Start it on topics that exist, stop it at the end."""
    service = build(settings)
    await service.start()
    transport = httpx.ASGITransport(app=service.app)  # type: ignore[arg-type]
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            await until(lambda: not service.waiting_for(), 60, "a ready tuner")
            yield service, http
    finally:
        await service.stop()


async def _until_ended(http: httpx.AsyncClient, experiment_id: str) -> dict[str, Any]:
    async def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = (await http.get(f"/mlops/experiments/{experiment_id}")).json()
        return None if found["state"] == "running" else found

    found: dict[str, Any] | None = await until(ended, 120, f"the end of {experiment_id}")
    assert found is not None
    return found


async def test_experiments_from_the_request_to_the_comparison(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path
) -> None:
    settings = _settings(broker, topic_prefix, tmp_path)
    train = write_rows(tmp_path / "train.csv", 200)
    async with (
        running_trainer(trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data")) as trainer,
        running_tuner(settings) as (_, http),
        watched_events(settings, "training-requests") as requests,
    ):
        missing = await http.post("/mlops/experiments", json={"name": "line-1", "searchSpace": SPACE})
        assert missing.status_code == 422
        assert "baseJob" in missing.json()["detail"]
        job_id = await trainer.submit(job_document(train))
        await trainer.until_state(job_id, "succeeded")

        document = {"name": "line-1", "searchSpace": SPACE, "maxTrials": 2, "parallelTrials": 1, "hypothesis": "h"}
        bayesian = await http.post("/mlops/experiments", json=document | {"searchStrategy": "bayesian"})
        assert (bayesian.status_code, bayesian.json()["code"]) == (501, "not-built")

        async def created() -> httpx.Response | None:
            response = await http.post("/mlops/experiments", json=document, headers={"Idempotency-Key": "k"})
            return response if response.status_code == 202 else None  # the job's event may still be on its way

        response = await until(created, 10, "the base job to be known")
        assert response is not None
        assert response.json()["base_job_from"] == f"the last job of line, {job_id}"
        first = response.json()["experiment_id"]
        again = await http.post("/mlops/experiments", json=document, headers={"Idempotency-Key": "k"})
        assert again.json()["experiment_id"] == first

        done = await _until_ended(http, first)
        assert done["state"] == "succeeded", done
        assert [trial["state"] for trial in done["trials"]] == ["succeeded", "succeeded"]
        values = [trial["value"] for trial in done["trials"]]
        assert done["best_value"] == max(values)
        assert done["best_job"]["training_config"]["batch_size"] == done["best_parameters"]["batch_size"]
        wanted = [message for message in requests.of(TrainingRequested) if message.experiment_id == first]
        assert [(message.trial, message.register_as_version) for message in wanted] == [(1, False), (2, False)]
        assert wanted[0].job.training_config.batch_size == done["trials"][0]["parameters"]["batch_size"]
        assert done["trials"][0]["artifact"].startswith("trials/line/")

        bad = document | {"name": "bad", "baseJob": job_document(tmp_path / "nothing.csv"), "maxTrials": 1}
        second = (await http.post("/mlops/experiments", json=bad)).json()["experiment_id"]
        failed = await _until_ended(http, second)
        assert failed["state"] == "failed"
        assert "nothing.csv does not exist" in failed["trials"][0]["detail"]

        compared = (await http.post("/mlops/experiments/compare", json={"experimentIds": [first, second]})).json()
        assert compared["best"] == first
        assert compared["parameters"] == ["batch_size", "learning_rate"]
        assert [row["trial_counts"]["succeeded"] for row in compared["experiments"]] == [2, 0]
        unknown = await http.post("/mlops/experiments/compare", json={"experimentIds": ["exp-none"]})
        assert unknown.status_code == 404
        listed = (await http.get("/mlops/experiments")).json()["experiments"]
        assert [item["experiment_id"] for item in listed] == [second, first]


async def test_a_stopped_experiment_cancels_its_trials(broker: LocalBroker, topic_prefix: str, tmp_path: Path) -> None:
    settings = _settings(broker, topic_prefix, tmp_path)
    train = write_rows(tmp_path / "train.csv", 100)
    async with (
        running_trainer(trainer_settings(broker.bootstrap, topic_prefix, tmp_path / "data")) as trainer,
        running_tuner(settings) as (_, http),
    ):
        document = {"name": "e", "searchSpace": SPACE, "maxTrials": 3, "baseJob": long_job(train)}
        experiment_id = (await http.post("/mlops/experiments", json=document)).json()["experiment_id"]
        await until(lambda: _under_way(trainer.http), 30, "the first trial")
        assert (await http.delete(f"/mlops/experiments/{experiment_id}")).status_code == 202
        await trainer.until_state(f"{experiment_id}-t1", "cancelled")

        async def all_ended() -> bool:
            found = (await http.get(f"/mlops/experiments/{experiment_id}")).json()
            return bool(found["state"] == "stopped" and found["trial_counts"]["cancelled"] == 3)

        await until(all_ended, 20, "three cancelled trials")
        assert (await http.delete(f"/mlops/experiments/{experiment_id}")).status_code == 409


async def _under_way(http: httpx.AsyncClient) -> bool:
    jobs = (await http.get("/mlops/train", params={"state": "running"})).json()["jobs"]
    return bool(jobs)
