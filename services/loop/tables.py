"""The loop's tables and queries: cycles, their steps, and what the topics told about models."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from schemas.envelope import Envelope
from schemas.events import Comparison, DeploymentWanted, LoopStep, ReplicaStatus
from schemas.jobs import TrainingJob
from services.kernel.db import insert_into

metadata = sa.MetaData()

cycles = sa.Table(
    "cycles",
    metadata,
    sa.Column("cycle_id", sa.String(64), primary_key=True),
    sa.Column("model_id", sa.String(128), nullable=False),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("open", sa.Boolean, nullable=False),
    sa.Column("opened_at", sa.Float, nullable=False),
    sa.Column("step_at", sa.Float, nullable=False),
    sa.Column("since", sa.Float, nullable=False),
    sa.Column("champion_version", sa.String(64), nullable=False),
    sa.Column("champion_artifact", sa.Text, nullable=False),
    sa.Column("champion_manifest_digest", sa.String(64), nullable=False),
    sa.Column("challenger_version", sa.String(64), nullable=True),
    sa.Column("job_id", sa.String(128), nullable=True),
    sa.Column("comparison", sa.Text, nullable=True),
    sa.Column("deployment_revision", sa.BigInteger, nullable=True),
    sa.Column("traffic_before", sa.Text, nullable=True),
    sa.Column("cause", sa.Text, nullable=True),
    sa.Column("alerted", sa.Boolean, nullable=False, default=False),
    sa.Index(
        "cycles_one_open",
        "model_id",
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    ),
)

steps = sa.Table(
    "steps",
    metadata,
    sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
    sa.Column("cycle_id", sa.String(64), nullable=False, index=True),
    sa.Column("step", sa.String(32), nullable=False),
    sa.Column("explanation", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("model_id", sa.String(128), primary_key=True),
    sa.Column("paused", sa.Boolean, nullable=False, default=False),
    sa.Column("cooldown_until", sa.Float, nullable=True),
    sa.Column("deployment", sa.Text, nullable=True),
    sa.Column("signal_id", sa.String(128), nullable=True),
    sa.Column("signal_version", sa.String(64), nullable=True),
    sa.Column("signal_since", sa.Float, nullable=True),
    sa.Column("signal_explanation", sa.Text, nullable=True),
    sa.Column("signal_cause", sa.Text, nullable=True),
)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model_id", sa.String(128), primary_key=True),
    sa.Column("version", sa.String(64), primary_key=True),
    sa.Column("job_id", sa.String(128), nullable=True),
)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("job_id", sa.String(128), primary_key=True),
    sa.Column("job", sa.Text, nullable=False),
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("replica", sa.String(128), primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Cycle:
    """One turn of the loop."""

    cycle_id: str
    model_id: str
    step: LoopStep
    opened_at: datetime
    step_at: datetime
    since: datetime
    champion_version: str
    champion_artifact: str
    champion_manifest_digest: str
    challenger_version: str | None
    job_id: str | None
    comparison: Comparison | None
    deployment_revision: int | None
    traffic_before: dict[str, tuple[int, int]]
    cause: Envelope | None
    alerted: bool = False


@dataclass(frozen=True, slots=True)
class Signal:
    """A monitor's signal about a version: the rows since `since` are worth retraining with."""

    signal_id: str
    model_id: str
    version: str
    since: datetime
    explanation: str
    cause: Envelope | None = None


def _upsert(connection: sa.Connection, table: sa.Table, keys: dict[str, Any], values: dict[str, Any]) -> None:
    statement = insert_into(connection, table).values(**keys, **values)
    statement = statement.on_conflict_do_update(index_elements=list(keys), set_=values)
    connection.execute(statement)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _cycle(row: Any) -> Cycle:
    return Cycle(
        cycle_id=row.cycle_id,
        model_id=row.model_id,
        step=LoopStep(row.step),
        opened_at=_time(row.opened_at),
        step_at=_time(row.step_at),
        since=_time(row.since),
        champion_version=row.champion_version,
        champion_artifact=row.champion_artifact,
        champion_manifest_digest=row.champion_manifest_digest,
        challenger_version=row.challenger_version,
        job_id=row.job_id,
        comparison=Comparison.model_validate_json(row.comparison) if row.comparison else None,
        deployment_revision=row.deployment_revision,
        traffic_before={v: (r, e) for v, (r, e) in json.loads(row.traffic_before or "{}").items()},
        cause=Envelope.model_validate_json(row.cause) if row.cause else None,
        alerted=bool(row.alerted),
    )


# cycles -----------------------------------------------------------------------------------------------------------


def open_cycles(connection: sa.Connection) -> list[Cycle]:
    """Every cycle that has not ended, oldest first."""
    rows = connection.execute(sa.select(cycles).where(cycles.c.open).order_by(cycles.c.opened_at))
    return [_cycle(row) for row in rows]


def open_cycle_of(connection: sa.Connection, model_id: str) -> Cycle | None:
    """The model's open cycle, or None."""
    row = connection.execute(sa.select(cycles).where(cycles.c.open, cycles.c.model_id == model_id)).one_or_none()
    return _cycle(row) if row else None


def cycle_by_id(connection: sa.Connection, cycle_id: str) -> Cycle | None:
    """The cycle, open or ended, or None."""
    row = connection.execute(sa.select(cycles).where(cycles.c.cycle_id == cycle_id)).one_or_none()
    return _cycle(row) if row else None


def add_cycle(connection: sa.Connection, cycle: Cycle) -> bool:
    """Open a cycle; False when one of the same model is open."""
    added = connection.execute(
        insert_into(connection, cycles)
        .values(
            cycle_id=cycle.cycle_id,
            model_id=cycle.model_id,
            step=cycle.step.value,
            open=True,
            opened_at=cycle.opened_at.timestamp(),
            step_at=cycle.step_at.timestamp(),
            since=cycle.since.timestamp(),
            champion_version=cycle.champion_version,
            champion_artifact=cycle.champion_artifact,
            champion_manifest_digest=cycle.champion_manifest_digest,
            alerted=False,
        )
        .on_conflict_do_nothing()
        .returning(cycles.c.cycle_id)
    )
    return added.first() is not None


def update_cycle(connection: sa.Connection, cycle_id: str, **values: Any) -> None:
    """Change columns of a cycle."""
    connection.execute(cycles.update().where(cycles.c.cycle_id == cycle_id).values(**values))


def change_at(connection: sa.Connection, cycle: Cycle, **values: Any) -> bool:
    """Change columns of a cycle if it is still at `cycle.step` (compare and swap). False when it is not."""
    still = (cycles.c.cycle_id == cycle.cycle_id) & (cycles.c.step == cycle.step.value)
    return bool(connection.execute(cycles.update().where(still).values(**values)).rowcount)


def mark_alerted(connection: sa.Connection, cycle: Cycle) -> bool:
    """Note that a person was told of the cycle. False when it was noted before, or the cycle has moved on."""
    still = (cycles.c.cycle_id == cycle.cycle_id) & (cycles.c.step == cycle.step.value) & ~cycles.c.alerted
    return bool(connection.execute(cycles.update().where(still).values(alerted=True)).rowcount)


def add_step(
    connection: sa.Connection, cycle_id: str, step: LoopStep, explanation: str, facts: dict[str, Any], at: datetime
) -> None:
    """Write a step into the cycle's history."""
    connection.execute(
        steps.insert().values(
            cycle_id=cycle_id, step=step.value, explanation=explanation, facts=json.dumps(facts), at=at.timestamp()
        )
    )


def history(connection: sa.Connection, model_id: str, limit: int) -> list[dict[str, Any]]:
    """The model's newest cycles with their steps, newest first, as the API shows them."""
    rows = connection.execute(
        sa.select(cycles).where(cycles.c.model_id == model_id).order_by(cycles.c.opened_at.desc()).limit(limit)
    ).all()
    found = []
    for row in rows:
        taken = connection.execute(sa.select(steps).where(steps.c.cycle_id == row.cycle_id).order_by(steps.c.seq))
        found.append(
            {
                "cycle_id": row.cycle_id,
                "step": row.step,
                "open": row.open,
                "opened_at": _time(row.opened_at),
                "since": _time(row.since),
                "champion_version": row.champion_version,
                "challenger_version": row.challenger_version,
                "job_id": row.job_id,
                "steps": [
                    {
                        "step": s.step,
                        "at": _time(s.at),
                        "explanation": s.explanation,
                        "facts": json.loads(s.facts),
                    }
                    for s in taken
                ],
            }
        )
    return found


# what the topics told ---------------------------------------------------------------------------------------------


def save_deployment(connection: sa.Connection, wanted: DeploymentWanted) -> None:
    """Keep the wanted state of a model's serving."""
    _upsert(connection, models, {"model_id": wanted.model_id}, {"deployment": wanted.model_dump_json()})


def model_row(connection: sa.Connection, model_id: str) -> Any | None:
    """What is known of a model, or None."""
    return connection.execute(sa.select(models).where(models.c.model_id == model_id)).one_or_none()


def all_models(connection: sa.Connection) -> list[Any]:
    """Every known model."""
    return list(connection.execute(sa.select(models).order_by(models.c.model_id)))


def deployment_of(row: Any | None) -> DeploymentWanted | None:
    """The wanted state kept in a model's row."""
    return DeploymentWanted.model_validate_json(row.deployment) if row is not None and row.deployment else None


def set_paused(connection: sa.Connection, model_id: str, paused: bool) -> None:
    """Pause or resume the loop for a model."""
    _upsert(connection, models, {"model_id": model_id}, {"paused": paused})


def start_cooldown(connection: sa.Connection, model_id: str, seconds: float, now: datetime) -> None:
    """No new cycle of this model for `seconds`."""
    until = (now + timedelta(seconds=seconds)).timestamp()
    connection.execute(models.update().where(models.c.model_id == model_id).values(cooldown_until=until))


def remember_signal(connection: sa.Connection, signal: Signal) -> None:
    """Keep the newest signal that only a pause or the cool-down kept from opening a cycle."""
    _upsert(
        connection,
        models,
        {"model_id": signal.model_id},
        {
            "signal_id": signal.signal_id,
            "signal_version": signal.version,
            "signal_since": signal.since.timestamp(),
            "signal_explanation": signal.explanation,
            "signal_cause": signal.cause.model_dump_json() if signal.cause else None,
        },
    )


def forget_signal(connection: sa.Connection, model_id: str, signal_id: str | None = None) -> bool:
    """Drop the model's remembered signal (only `signal_id`, where given). False when there was none."""
    which = (models.c.model_id == model_id) & models.c.signal_id.is_not(None)
    if signal_id is not None:
        which = which & (models.c.signal_id == signal_id)
    empty = dict.fromkeys(("signal_id", "signal_version", "signal_since", "signal_explanation", "signal_cause"))
    return bool(connection.execute(models.update().where(which).values(empty)).rowcount)


def due_signals(connection: sa.Connection, now: datetime) -> list[Signal]:
    """Remembered signals of models that are not paused, not cooling down and have no open cycle."""
    rows = connection.execute(
        sa.select(models).where(
            models.c.signal_id.is_not(None),
            ~models.c.paused,
            sa.or_(models.c.cooldown_until.is_(None), models.c.cooldown_until <= now.timestamp()),
            ~sa.exists().where(cycles.c.model_id == models.c.model_id, cycles.c.open),
        )
    )
    return [
        Signal(
            signal_id=row.signal_id,
            model_id=row.model_id,
            version=row.signal_version,
            since=_time(row.signal_since),
            explanation=row.signal_explanation,
            cause=Envelope.model_validate_json(row.signal_cause) if row.signal_cause else None,
        )
        for row in rows
    ]


def save_version(connection: sa.Connection, model_id: str, version: str, job_id: str | None) -> None:
    """Keep which job made a version."""
    _upsert(connection, versions, {"model_id": model_id, "version": version}, {"job_id": job_id})


def save_job(connection: sa.Connection, job_id: str, job: TrainingJob) -> None:
    """Keep a job's document."""
    _upsert(connection, jobs, {"job_id": job_id}, {"job": job.model_dump_json(by_alias=True)})


def job_of_version(connection: sa.Connection, model_id: str, version: str) -> TrainingJob | None:
    """The job that made a version, or None when it is not known."""
    row = connection.execute(
        sa.select(jobs.c.job)
        .join(versions, versions.c.job_id == jobs.c.job_id)
        .where(versions.c.model_id == model_id, versions.c.version == version)
    ).one_or_none()
    return TrainingJob.model_validate_json(row.job) if row else None


def save_replica(connection: sa.Connection, status: ReplicaStatus) -> None:
    """Keep what a replica serves; a stopped one is forgotten."""
    if status.stopped:
        connection.execute(replicas.delete().where(replicas.c.replica == status.replica))
    else:
        _upsert(connection, replicas, {"replica": status.replica}, {"status": status.model_dump_json()})


def live_replicas(connection: sa.Connection, now: datetime, silent_seconds: float = 30.0) -> list[ReplicaStatus]:
    """Replicas that have reported lately."""
    found = [ReplicaStatus.model_validate_json(s) for s in connection.execute(sa.select(replicas.c.status)).scalars()]
    return [status for status in found if (now - status.at).total_seconds() < silent_seconds]
