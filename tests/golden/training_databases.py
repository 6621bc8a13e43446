"""Write the trainer's and the tuner's databases as the newest migrations make them, with a little of everything.

`python -m tests.golden.training_databases`. A file that is there is never written again.
"""

import sqlite3
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from schemas.commands import TrainingCancelled, TrainingRequested
from schemas.events import JobStarted, JobSucceeded
from schemas.jobs import Experiment, Holdout, TrainingJob
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.uow import UnitOfWork, Work
from services.trainer import endings, handlers, tables
from services.trainer.outcome import Finished, Rejected
from services.trainer.workspace import EpochReport, Result
from services.tuner import handlers as tuner_handlers
from services.tuner import progress
from services.tuner import tables as tuner_tables
from tests.golden.registry_database import DATABASES, MODEL
from tests.golden.samples import NOON

NOW = NOON.timestamp()
SHA = "a" * 64
JOB = TrainingJob.model_validate(
    {
        "modelType": MODEL,
        "datasetConfig": {"trainPath": "/data/train.csv", "labelColumn": "attack"},
        "modelConfig": {"architecture": "mlp", "optimizer": {"learningRate": 0.003, "decay": 0.001}},
    }
)


def fill_trainer(uow: UnitOfWork) -> None:
    """Jobs that succeeded, failed, run, are to be cancelled, and wait."""
    held = JOB.model_copy(update={"holdout": Holdout(path="artifact:datasets/d.parquet", champion_version="1.0.1")})
    for number in range(1, 6):
        request = TrainingRequested(
            job_id=f"job-{number}", job=held if number == 3 else JOB, reason="golden", cycle_id="cycle-1"
        )
        handlers.on_requested(request, uow)
    claims = [tables.claim_next(uow.connection, "worker-1", now=4e9, lease_seconds=15) for _ in range(4)]
    first, second, _, fourth = (claim for claim in claims if claim is not None)
    report = EpochReport(epoch=1, epochs=12, metrics={"loss": 0.5, "val_accuracy": 0.9}, eta_seconds=3.5)
    tables.add_epochs(uow.connection, first, [report], now=NOW)
    result = Result(manifest_digest=SHA, content_digest=SHA, dataset_digest=SHA, metrics={"accuracy": 0.9})
    endings.settle(uow, first, Finished(result), 2)
    endings.settle(uow, second, Rejected("invalid-input", "datasetConfig.trainPath: /data does not exist"), 2)
    handlers.on_cancelled(TrainingCancelled(job_id=fourth.job_id, reason="enough"), uow)


def fill_tuner(uow: UnitOfWork) -> None:
    """A model's last job, and an experiment with a trial that succeeded, one that runs and one that waits."""
    succeeded = JobSucceeded(
        job_id="job-1",
        model_id=MODEL,
        job=JOB,
        artifact="models/m/job-1.1",
        manifest_digest=SHA,
        content_digest=SHA,
        dataset_digest=SHA,
        metrics={"accuracy": 0.9, "f1Score": 0.8},
    )
    tuner_handlers.on_succeeded(succeeded, uow)
    space = {"dropout": {"type": "float", "low": 0.1, "high": 0.5}}
    experiment = Experiment.model_validate({"name": "e", "metric": "f1", "searchSpace": space, "maxTrials": 3})
    tuner_tables.insert_experiment(
        uow.connection,
        "exp-1",
        experiment,
        base_job=JOB,
        base_job_from="the last job",
        parameters=[{"dropout": value} for value in (0.1, 0.2, 0.3)],
        requested_by="ada",
        cause=None,
        now=NOW,
    )
    progress.advance(uow, "exp-1")
    trial = {"job_id": "exp-1-t1", "register_as_version": False, "experiment_id": "exp-1", "trial": 1}
    tuner_handlers.on_succeeded(succeeded.model_copy(update=trial), uow)
    tuner_handlers.on_started(JobStarted(job_id="exp-1-t2", model_id=MODEL, worker="w", trial=2), uow)


FILLS: dict[str, Callable[[UnitOfWork], None]] = {"trainer": fill_trainer, "tuner": fill_tuner}


def main() -> None:
    """Dump both as SQL, named after their newest revisions."""
    for service, fill in FILLS.items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "service.db"
            database = Database(f"sqlite:///{path}", service)
            migrate(database, f"services.{service}.migrations")
            work = Work(database, service)
            database.write_now(partial(work.within, fn=fill))
            revision = database.read_now(
                lambda connection: connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one()
            )
            database.close()
            target = DATABASES / f"{service}-{revision}.sql"
            if not target.exists():
                connection = sqlite3.connect(path)
                target.write_text("\n".join(connection.iterdump()) + "\n")
                connection.close()


if __name__ == "__main__":
    main()
