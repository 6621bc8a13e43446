"""The trainer's tables and their queries. Times are seconds since 1970 (UTC); documents are JSON text."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.commands import TrainingRequested
from schemas.envelope import Envelope
from schemas.jobs import TrainingJob
from services.kernel.db import insert_into
from services.trainer.model import Claim, JobState
from services.trainer.workspace import EpochReport

metadata = sa.MetaData()

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", sa.String(128), primary_key=True),
    sa.Column("model_id", sa.String(128), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("register_as_version", sa.Boolean, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Text, nullable=False),
    sa.Column("experiment_id", sa.String(128), nullable=True),
    sa.Column("trial", sa.Integer, nullable=True),
    sa.Column("cycle_id", sa.String(256), nullable=True),
    sa.Column("cause", sa.Text, nullable=True),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("fence", sa.Integer, nullable=False, default=0),
    sa.Column("worker", sa.String(128), nullable=True),
    sa.Column("lease_expires_at", sa.Float, nullable=True),
    sa.Column("not_before", sa.Float, nullable=False, default=0.0),
    sa.Column("cancel_requested", sa.Boolean, nullable=False, default=False),
    sa.Column("cancel_reason", sa.Text, nullable=False, default=""),
    sa.Column("submitted_at", sa.Float, nullable=False),
    sa.Column("started_at", sa.Float, nullable=True),
    sa.Column("ended_at", sa.Float, nullable=True),
    sa.Column("error", sa.String(64), nullable=True),
    sa.Column("detail", sa.Text, nullable=True),
    sa.Column("outcome", sa.Text, nullable=True),
    sa.Index("jobs_by_state", "state", "submitted_at"),
    sa.Index("jobs_by_model", "model_id", "submitted_at"),
)

epochs = sa.Table(
    "epochs",
    metadata,
    sa.Column("job_id", sa.String(128), primary_key=True),
    sa.Column("fence", sa.Integer, primary_key=True),
    sa.Column("epoch", sa.Integer, primary_key=True),
    sa.Column("epochs", sa.Integer, nullable=False),
    sa.Column("metrics", sa.Text, nullable=False),
    sa.Column("eta_seconds", sa.Float, nullable=True),
    sa.Column("at", sa.Float, nullable=False),
)


def insert_job(
    connection: sa.Connection,
    request: TrainingRequested,
    *,
    now: float,
    cause: Envelope | None,
    state: JobState = JobState.QUEUED,
    error: str | None = None,
    detail: str | None = None,
) -> bool:
    """Record a requested job. False, and nothing changed, when the id is known already."""
    if connection.execute(sa.select(jobs.c.job_id).where(jobs.c.job_id == request.job_id)).first():
        return False
    connection.execute(
        jobs.insert().values(
            job_id=request.job_id,
            model_id=request.job.model,
            state=state,
            document=request.job.model_dump_json(by_alias=True),
            register_as_version=request.register_as_version,
            reason=request.reason,
            requested_by=request.requested_by,
            experiment_id=request.experiment_id,
            trial=request.trial,
            cycle_id=request.cycle_id,
            cause=cause.model_dump_json() if cause else None,
            submitted_at=now,
            ended_at=now if state.ended else None,
            error=error,
            detail=detail,
        )
    )
    return True


def find(connection: sa.Connection, job_id: str) -> sa.Row[Any] | None:
    """The job's row, or None."""
    return connection.execute(sa.select(jobs).where(jobs.c.job_id == job_id)).first()


def newest(
    connection: sa.Connection,
    *,
    model_id: str | None,
    state: JobState | None,
    limit: int,
    prefixes: Sequence[str] = (),
) -> Sequence[sa.Row[Any]]:
    """Rows of at most `limit` jobs, the newest first. `prefixes`: what model ids may begin with; none: any."""
    query = sa.select(jobs).order_by(jobs.c.submitted_at.desc(), jobs.c.job_id).limit(limit)
    if model_id is not None:
        query = query.where(jobs.c.model_id == model_id)
    if state is not None:
        query = query.where(jobs.c.state == state)
    if prefixes:  # not LIKE, which is blind to case in SQLite
        query = query.where(sa.or_(*(sa.func.substr(jobs.c.model_id, 1, len(p)) == p for p in prefixes)))
    return connection.execute(query).all()


def history(connection: sa.Connection, job_id: str, fence: int) -> Sequence[sa.Row[Any]]:
    """The epochs of one attempt, in order."""
    query = sa.select(epochs).where(epochs.c.job_id == job_id, epochs.c.fence == fence).order_by(epochs.c.epoch)
    return connection.execute(query).all()


def claim_next(connection: sa.Connection, worker: str, *, now: float, lease_seconds: float) -> Claim | None:
    """Take the oldest queued job for `worker`, or None. Two workers never take the same one."""
    row = connection.execute(
        sa.select(jobs)
        .where(jobs.c.state == JobState.QUEUED, jobs.c.not_before <= now)
        .order_by(jobs.c.submitted_at, jobs.c.job_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).first()
    if row is None:
        return None
    connection.execute(
        jobs.update()
        .where(jobs.c.job_id == row.job_id)
        .values(
            state=JobState.RUNNING,
            attempts=row.attempts + 1,
            fence=row.fence + 1,
            worker=worker,
            lease_expires_at=now + lease_seconds,
            started_at=now,
        )
    )
    return Claim(
        job_id=row.job_id,
        job=TrainingJob.model_validate_json(row.document),
        attempt=row.attempts + 1,
        fence=row.fence + 1,
        register_as_version=row.register_as_version,
        requested_by=row.requested_by,
        experiment_id=row.experiment_id,
        trial=row.trial,
        cycle_id=row.cycle_id,
        cause=Envelope.model_validate_json(row.cause) if row.cause else None,
    )


def held(connection: sa.Connection, claim: Claim) -> sa.Row[Any] | None:
    """The job's row, locked, if `claim` still holds it; None for a zombie."""
    return connection.execute(
        sa.select(jobs)
        .where(jobs.c.job_id == claim.job_id, jobs.c.fence == claim.fence, jobs.c.state == JobState.RUNNING)
        .with_for_update()
    ).first()


def renew(connection: sa.Connection, claim: Claim, *, now: float, lease_seconds: float) -> None:
    """Extend the lease of a claim that is `held`."""
    connection.execute(jobs.update().where(jobs.c.job_id == claim.job_id).values(lease_expires_at=now + lease_seconds))


def expired(connection: sa.Connection, *, now: float) -> Sequence[sa.Row[Any]]:
    """Running jobs whose lease is over, locked."""
    return connection.execute(
        sa.select(jobs)
        .where(jobs.c.state == JobState.RUNNING, jobs.c.lease_expires_at < now)
        .with_for_update(skip_locked=True)
    ).all()


def has_queued(connection: sa.Connection, *, now: float) -> bool:
    """Whether a job may be claimed now."""
    query = sa.select(jobs.c.job_id).where(jobs.c.state == JobState.QUEUED, jobs.c.not_before <= now).limit(1)
    return connection.execute(query).first() is not None


def needs_settling(connection: sa.Connection, *, now: float) -> bool:
    """Whether there are `expired` or `cancelled_while_queued` jobs."""
    over = sa.and_(jobs.c.state == JobState.RUNNING, jobs.c.lease_expires_at < now)
    unwanted = sa.and_(jobs.c.state == JobState.QUEUED, jobs.c.cancel_requested)
    return connection.execute(sa.select(jobs.c.job_id).where(sa.or_(over, unwanted)).limit(1)).first() is not None


def running_attempts(connection: sa.Connection) -> set[str]:
    """`JOB.FENCE` of every running job, of whatever trainer: the names of their folders."""
    rows = connection.execute(sa.select(jobs.c.job_id, jobs.c.fence).where(jobs.c.state == JobState.RUNNING))
    return {f"{row.job_id}.{row.fence}" for row in rows}


def cancelled_while_queued(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """Queued jobs that are not wanted any more, locked."""
    return connection.execute(
        sa.select(jobs)
        .where(jobs.c.state == JobState.QUEUED, jobs.c.cancel_requested)
        .with_for_update(skip_locked=True)
    ).all()


def requeue(connection: sa.Connection, job_id: str, *, attempts: int, not_before: float, detail: str) -> None:
    """Back into the queue, to be taken from `not_before` on; `detail` says why."""
    connection.execute(
        jobs.update()
        .where(jobs.c.job_id == job_id)
        .values(
            state=JobState.QUEUED,
            attempts=attempts,
            worker=None,
            lease_expires_at=None,
            not_before=not_before,
            detail=detail,
        )
    )


def end(
    connection: sa.Connection,
    job_id: str,
    state: JobState,
    *,
    now: float,
    error: str | None = None,
    detail: str | None = None,
    outcome: dict[str, Any] | None = None,
) -> None:
    """Write the job's last state."""
    connection.execute(
        jobs.update()
        .where(jobs.c.job_id == job_id)
        .values(
            state=state,
            ended_at=now,
            lease_expires_at=None,
            error=error,
            detail=detail,
            outcome=json.dumps(outcome) if outcome is not None else None,
        )
    )


def request_cancel(connection: sa.Connection, job_id: str, reason: str) -> None:
    """Let whoever runs the job stop it."""
    connection.execute(jobs.update().where(jobs.c.job_id == job_id).values(cancel_requested=True, cancel_reason=reason))


def add_epochs(connection: sa.Connection, claim: Claim, reports: Sequence[EpochReport], *, now: float) -> None:
    """Append to the attempt's history. An epoch that is there already stays as it is: a heartbeat that was cut off
    after its commit does not know that it wrote."""
    insert = insert_into(connection, epochs)
    connection.execute(
        insert.on_conflict_do_nothing(index_elements=["job_id", "fence", "epoch"]),
        [
            {
                "job_id": claim.job_id,
                "fence": claim.fence,
                "epoch": report.epoch,
                "epochs": report.epochs,
                "metrics": json.dumps(report.metrics),
                "eta_seconds": report.eta_seconds,
                "at": now,
            }
            for report in reports
        ],
    )
