"""The tuner's tables and their queries. Times are seconds since 1970 (UTC); documents are JSON text."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.envelope import Envelope
from schemas.jobs import Experiment, TrainingJob
from services.kernel.db import insert_into
from services.tuner.model import ExperimentState, TrialState

metadata = sa.MetaData()

experiments = sa.Table(
    "experiments",
    metadata,
    sa.Column("experiment_id", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("model_id", sa.String(128), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("base_job", sa.Text, nullable=False),
    sa.Column("base_job_from", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("cause", sa.Text, nullable=True),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float, nullable=True),
    sa.Column("best_trial", sa.Integer, nullable=True),
    sa.Column("best_value", sa.Float, nullable=True),
    sa.Index("experiments_by_time", "created_at"),
)

trials = sa.Table(
    "trials",
    metadata,
    sa.Column("experiment_id", sa.String(128), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("job_id", sa.String(128), nullable=False, unique=True),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("parameters", sa.Text, nullable=False),
    sa.Column("value", sa.Float, nullable=True),
    sa.Column("metrics", sa.Text, nullable=True),
    sa.Column("artifact", sa.Text, nullable=True),
    sa.Column("manifest_digest", sa.String(64), nullable=True),
    sa.Column("epoch", sa.Integer, nullable=True),
    sa.Column("error", sa.String(64), nullable=True),
    sa.Column("detail", sa.Text, nullable=True),
    sa.Column("started_at", sa.Float, nullable=True),
    sa.Column("ended_at", sa.Float, nullable=True),
)

last_jobs = sa.Table(
    "last_jobs",
    metadata,
    sa.Column("model_id", sa.String(128), primary_key=True),
    sa.Column("job_id", sa.String(128), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


def save_last_job(connection: sa.Connection, job_id: str, job: TrainingJob, *, now: float) -> None:
    """Remember the newest registered job of its model."""
    insert = insert_into(connection, last_jobs)
    values = {"job_id": job_id, "document": job.model_dump_json(by_alias=True), "at": now}
    connection.execute(
        insert.values(model_id=job.model, **values).on_conflict_do_update(index_elements=["model_id"], set_=values)
    )


def known_last_jobs(connection: sa.Connection) -> dict[str, tuple[str, TrainingJob]]:
    """Model id -> (job id, job) of every model that has one."""
    return {
        row.model_id: (row.job_id, TrainingJob.model_validate_json(row.document))
        for row in connection.execute(sa.select(last_jobs))
    }


def insert_experiment(
    connection: sa.Connection,
    experiment_id: str,
    experiment: Experiment,
    *,
    base_job: TrainingJob,
    base_job_from: str,
    parameters: Sequence[dict[str, Any]],
    requested_by: str,
    cause: Envelope | None,
    now: float,
) -> None:
    """Record an experiment and all its trials, waiting."""
    connection.execute(
        experiments.insert().values(
            experiment_id=experiment_id,
            name=experiment.name,
            model_id=base_job.model,
            state=ExperimentState.RUNNING,
            document=experiment.model_dump_json(by_alias=True),
            base_job=base_job.model_dump_json(by_alias=True),
            base_job_from=base_job_from,
            requested_by=requested_by,
            cause=cause.model_dump_json() if cause else None,
            created_at=now,
        )
    )
    connection.execute(
        trials.insert(),
        [
            {
                "experiment_id": experiment_id,
                "number": number,
                "job_id": f"{experiment_id}-t{number}",
                "state": TrialState.WAITING,
                "parameters": json.dumps(chosen),
            }
            for number, chosen in enumerate(parameters, start=1)
        ],
    )


def find(connection: sa.Connection, experiment_id: str, *, lock: bool = False) -> sa.Row[Any] | None:
    """The experiment's row, locked on demand, or None."""
    query = sa.select(experiments).where(experiments.c.experiment_id == experiment_id)
    return connection.execute(query.with_for_update() if lock else query).first()


def newest(
    connection: sa.Connection, *, model_id: str | None, limit: int, prefixes: Sequence[str] = ()
) -> Sequence[sa.Row[Any]]:
    """Rows of at most `limit` experiments, the newest first. `prefixes`: what model ids may begin with; none: any."""
    query = sa.select(experiments).order_by(experiments.c.created_at.desc()).limit(limit)
    if model_id is not None:
        query = query.where(experiments.c.model_id == model_id)
    if prefixes:  # not LIKE, which is blind to case in SQLite
        query = query.where(sa.or_(*(sa.func.substr(experiments.c.model_id, 1, len(p)) == p for p in prefixes)))
    return connection.execute(query).all()


def trials_of(connection: sa.Connection, experiment_id: str) -> Sequence[sa.Row[Any]]:
    """The experiment's trials, in order."""
    return connection.execute(
        sa.select(trials).where(trials.c.experiment_id == experiment_id).order_by(trials.c.number)
    ).all()


def find_trial(connection: sa.Connection, job_id: str) -> sa.Row[Any] | None:
    """The trial that the job belongs to, or None."""
    return connection.execute(sa.select(trials).where(trials.c.job_id == job_id)).first()


def update_trial(connection: sa.Connection, job_id: str, **values: Any) -> None:
    """Change a trial."""
    connection.execute(trials.update().where(trials.c.job_id == job_id).values(**values))


def cancel_waiting(connection: sa.Connection, experiment_id: str, *, now: float, detail: str) -> None:
    """Give up the trials that nobody was asked for yet."""
    connection.execute(
        trials.update()
        .where(trials.c.experiment_id == experiment_id, trials.c.state == TrialState.WAITING)
        .values(state=TrialState.CANCELLED, ended_at=now, detail=detail)
    )


def update_experiment(connection: sa.Connection, experiment_id: str, **values: Any) -> None:
    """Change an experiment."""
    connection.execute(experiments.update().where(experiments.c.experiment_id == experiment_id).values(**values))


def json_of(text: str) -> Any:
    """A stored document."""
    return json.loads(text)


def json_text(document: Any) -> str:
    """A document to store."""
    return json.dumps(document)
