"""Everything that one job does, from rows to a verified model directory. Runs in the child process only."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.jobs import TrainingJob
from schemas.manifest import MODEL_NAME, Lineage, Manifest
from services.kernel.artifacts import build_manifest, write_manifest
from services.kernel.errors import InvalidInput
from services.trainer import datasets, graph
from services.trainer.augmentation import augmented
from services.trainer.datasets import TrainingData
from services.trainer.encoding import Encoding, Matrix
from services.trainer.judge import Judge
from services.trainer.vocabulary import check_job
from services.trainer.workspace import VERSION_NAME, EpochReport, Result, Task

VERIFIED_ROWS = 256


def run(task: Task, folder: Path, report: Callable[[EpochReport], None]) -> Result:
    """Train `task.job` and write its model directory to `folder/version`.

    Raises `InvalidInput` for a job or data that can't be trained on, `TrainingFailed` and `ExportFailed`.
    """
    seconds: dict[str, float] = {}
    job = task.job
    check_job(job)
    with _timed("read", seconds):
        data = datasets.load(job, lambda reference: _local(task, reference))
        encoding = Encoding.learn(data.training.features, data.signature)
        if not encoding.width:
            raise InvalidInput("datasetConfig.trainPath: no feature has any value to learn from")
    with _timed("import", seconds):
        from services.trainer import fitting

        fitting.limit_threads(task.threads)
    with _timed("fit", seconds):
        fitted = fitting.fit(job, *_training_arrays(job, data, encoding), len(data.classes), report)
    version = folder / VERSION_NAME
    version.mkdir()
    with _timed("export", seconds):
        model = graph.build(fitting.export(fitted.network, folder), encoding, data.signature)
        rows = _verification_rows(data)
        expected = fitting.predict(fitted.network, encoding.encode(rows))
        difference = graph.verify(model, rows, expected, data.signature)
        (version / MODEL_NAME).write_bytes(model)
    with _timed("evaluate", seconds):
        judge = Judge(model, data)
        metrics = judge.metrics()
        comparison = judge.comparison(task.champion) if task.champion else None
        notes = [*data.notes, *judge.write_baseline(version, metrics)]
    best = fitted.history[fitted.best_epoch - 1]
    notes.append(
        f"Epoch {fitted.best_epoch} of {len(fitted.history)} was kept; the ONNX graph differs from the network by at "
        f"most {difference:.1g}."
    )
    manifest = _manifest(task, version, data, metrics | {"loss": best.metrics["val_loss"]}, fitted.best_epoch)
    digest = write_manifest(version, manifest)
    return Result(
        manifest_digest=digest,
        content_digest=manifest.content_digest,
        dataset_digest=data.digest,
        metrics=manifest.metrics,
        notes=tuple(notes),
        comparison=comparison,
        best_epoch=fitted.best_epoch,
        seconds=seconds,
    )


def _training_arrays(
    job: TrainingJob, data: TrainingData, encoding: Encoding
) -> tuple[tuple[Matrix, NDArray[np.int64]], tuple[Matrix, NDArray[np.int64]]]:
    rows = encoding.encode(data.training.features)
    labels = data.training.class_indices(data.classes)
    augmentation = job.dataset_config.augmentation
    if augmentation.enabled:
        seed = job.training_config.seed
        rows, labels = augmented(rows, labels, len(encoding.numbers), augmentation.techniques, seed)
    validation = encoding.encode(data.validation.features), data.validation.class_indices(data.classes)
    return (rows, labels), validation


def _verification_rows(data: TrainingData) -> pa.Table:
    """Real rows, then the same rows with missing and unseen values."""
    rows = data.validation.features.slice(0, VERIFIED_ROWS)
    return pa.concat_tables([rows, graph.with_gaps(rows, data.signature)])


def _manifest(task: Task, version: Path, data: TrainingData, metrics: dict[str, float], best_epoch: int) -> Manifest:
    job = task.job
    network, config = job.network, job.training_config
    return build_manifest(
        version,
        model_id=job.model,
        model_type=job.model_type,
        model_name=job.model_name or "",
        framework="keras",
        signature=data.signature,
        metrics=metrics,
        hyperparameters={
            **network.model_dump(mode="json"),
            **config.model_dump(mode="json"),
            "training_rows": data.training.rows,
            "validation_rows": data.validation.rows,
            "best_epoch": best_epoch,
        },
        lineage=Lineage(
            job_id=task.job_id,
            dataset_digest=data.digest,
            experiment_id=task.experiment_id,
            trial=task.trial,
            parent_version=task.champion.version if task.champion else None,
            cycle_id=task.cycle_id,
        ),
        created_at=task.created_at,
        description=job.description,
        changes=job.changes,
        tags=job.tags,
    )


def _local(task: Task, reference: str) -> Path:
    if reference not in task.inputs:
        raise InvalidInput(f"{reference} was not fetched from the artifact store")
    return task.inputs[reference]


@contextmanager
def _timed(stage: str, seconds: dict[str, float]) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[stage] = round(time.perf_counter() - started, 3)
