"""The child process: a task in, a verified model directory out; or a result that says why there is none."""

import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from schemas.baseline import Baseline
from schemas.baseline_sample import read_baseline_sample
from schemas.jobs import TrainingJob
from schemas.manifest import BASELINE_NAME, BASELINE_SAMPLE_NAME, MANIFEST_NAME, MODEL_NAME
from services.kernel.artifacts import read_manifest, verify_directory
from services.trainer import graph
from services.trainer.reading import read_rows
from services.trainer.workspace import (
    RESULT_NAME,
    TASK_NAME,
    VERSION_NAME,
    Champion,
    EpochReport,
    Result,
    Task,
)
from tests.integration.trainer.rows import job_document, write_rows


def _run(folder: Path, task: Task) -> tuple[Result, list[EpochReport], int]:
    folder.mkdir()
    (folder / TASK_NAME).write_text(task.model_dump_json(by_alias=True))
    command = [sys.executable, "-m", "services.trainer.child", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert (folder / RESULT_NAME).exists(), done.stderr
    reports = [EpochReport.model_validate_json(line) for line in done.stdout.splitlines()]
    return Result.model_validate_json((folder / RESULT_NAME).read_bytes()), reports, done.returncode


def _task(job: dict[str, Any], **fields: Any) -> Task:
    created_at = datetime(2026, 1, 1, tzinfo=UTC)
    return Task(job_id="job-1", job=TrainingJob.model_validate(job), created_at=created_at, **fields)


def test_a_job_and_its_retraining(tmp_path: Path) -> None:
    train = write_rows(tmp_path / "train.csv", 600)
    test = write_rows(tmp_path / "test.csv", 200, seed=1)
    job = job_document(train)
    job["datasetConfig"]["testPath"] = str(test)
    result, reports, code = _run(tmp_path / "first", _task(job))
    assert (code, result.failure) == (0, None)
    assert [report.epoch for report in reports] == list(range(1, len(reports) + 1))
    assert reports[-1].metrics.keys() >= {"loss", "accuracy", "val_loss", "val_accuracy", "val_f1Score"}
    assert result.metrics["accuracy"] > 0.9
    assert result.metrics["test_accuracy"] > 0.9
    assert any("No validation data was given" in note for note in result.notes)

    version = tmp_path / "first" / VERSION_NAME
    manifest = read_manifest((version / MANIFEST_NAME).read_bytes())
    verify_directory(version, manifest)
    assert manifest.manifest_digest == result.manifest_digest
    assert manifest.lineage.dataset_digest == result.dataset_digest
    assert manifest.hyperparameters["optimizer"]["learning_rate"] == 0.02
    assert [(f.name, f.nullable) for f in manifest.signature.inputs] == [("x", True), ("y", False), ("kind", True)]
    baseline = Baseline.model_validate_json((version / BASELINE_NAME).read_bytes())
    assert baseline.metrics["accuracy"] == pytest.approx(result.metrics["accuracy"])
    assert {"x", "y", "kind", "prediction"} <= {feature.name for feature in baseline.features}
    sample = read_baseline_sample((version / BASELINE_SAMPLE_NAME).read_bytes())
    assert sample.column_names == ["x", "y", "kind", "label"]

    again, _, _ = _run(tmp_path / "again", _task(job))
    assert again.content_digest == result.content_digest
    assert again.manifest_digest == result.manifest_digest

    ids = [f"inc-{i}" for i in range(900)]
    window = write_rows(tmp_path / "window.csv", 900, seed=2, turned=True, prediction_id=ids)
    job["holdout"] = {"path": "artifact:datasets/w.csv", "fraction": 0.4, "championVersion": "1.0.1"}
    challenger, _, _ = _run(
        tmp_path / "second",
        _task(
            job,
            inputs={"artifact:datasets/w.csv": window},
            champion=Champion(version="1.0.1", directory=version),
            cycle_id="cycle-1",
        ),
    )
    comparison = challenger.comparison
    assert comparison is not None
    assert comparison.rows == sum(
        (comparison.both_correct, comparison.only_champion, comparison.only_challenger, comparison.neither)
    )
    assert comparison.champion_accuracy < 0.15  # the classes are swapped in the window
    assert any("The drift baseline is the 900 rows" in note for note in challenger.notes)
    loaded = graph.session((tmp_path / "second" / VERSION_NAME / MODEL_NAME).read_bytes())
    rows = read_rows(str(test), "test", lambda reference: tmp_path)
    answered = graph.probabilities(loaded, rows, manifest.signature)
    assert np.allclose(answered.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"datasetConfig": {"trainPath": "/no/such/file.csv"}}, "invalid-input", "does not exist"),
        ({"datasetConfig": {"trainPath": "artifact:x.csv"}}, "invalid-input", "was not fetched"),
        (
            {"modelConfig": {"layers": [16], "optimizer": {"type": "sgd", "learningRate": 1e30}}},
            "training-failed",
            "lower learning rate",
        ),
    ],
)
def test_a_job_without_a_model_says_why(tmp_path: Path, change: dict[str, Any], error: str, says: str) -> None:
    job = job_document(write_rows(tmp_path / "train.csv", 120)) | change
    result, _, code = _run(tmp_path / "job", _task(job))
    assert code == 3
    assert result.failure is not None
    assert result.failure.error == error
    assert says in result.failure.detail
    assert json.loads((tmp_path / "job" / RESULT_NAME).read_text())["manifest_digest"] == ""
