"""What the tuner does with the trainer's events."""

from typing import Any

from schemas.base import Message
from schemas.events import JobCancelled, JobFailed, JobProgress, JobStarted, JobSucceeded
from schemas.jobs import Experiment
from services.kernel.bus.inbox import Handler
from services.kernel.uow import UnitOfWork
from services.tuner import tables
from services.tuner.model import TrialState, metric_name
from services.tuner.progress import advance, note_best


def on_started(message: JobStarted, uow: UnitOfWork) -> None:
    """A trainer has taken the trial."""
    trial = tables.find_trial(uow.connection, message.job_id)
    if trial is not None and not TrialState(trial.state).ended:
        now = uow.now().timestamp()
        tables.update_trial(
            uow.connection, message.job_id, state=TrialState.RUNNING, started_at=trial.started_at or now, epoch=None
        )


def on_progress(message: JobProgress, uow: UnitOfWork) -> None:
    """Remember how far the trial is."""
    trial = tables.find_trial(uow.connection, message.job_id)
    if trial is not None and not TrialState(trial.state).ended:
        tables.update_trial(uow.connection, message.job_id, epoch=message.epoch)


def on_succeeded(message: JobSucceeded, uow: UnitOfWork) -> None:
    """A trial's metrics; or a model's new last job, the base of experiments to come."""
    now = uow.now().timestamp()
    if message.register_as_version:
        tables.save_last_job(uow.connection, message.job_id, message.job, now=now)
    trial = tables.find_trial(uow.connection, message.job_id)
    row = tables.find(uow.connection, trial.experiment_id) if trial is not None else None
    if trial is None or row is None:
        return
    experiment = Experiment.model_validate_json(row.document)
    value = message.metrics.get(metric_name(experiment.metric) or experiment.metric)
    tables.update_trial(
        uow.connection,
        message.job_id,
        state=TrialState.SUCCEEDED,
        value=value,
        metrics=tables.json_text(message.metrics),
        artifact=message.artifact,
        manifest_digest=message.manifest_digest,
        detail=None if value is not None else f"the job did not measure {experiment.metric}",
        ended_at=now,
    )
    note_best(uow, trial.experiment_id, experiment.objective)
    advance(uow, trial.experiment_id)


def on_failed(message: JobFailed, uow: UnitOfWork) -> None:
    """The trial has no model; the others go on."""
    _ended(uow, message.job_id, state=TrialState.FAILED, error=message.error, detail=message.detail)


def on_cancelled(message: JobCancelled, uow: UnitOfWork) -> None:
    """The trial was stopped; the others go on."""
    _ended(uow, message.job_id, state=TrialState.CANCELLED, detail=message.reason)


def _ended(uow: UnitOfWork, job_id: str, **values: Any) -> None:
    trial = tables.find_trial(uow.connection, job_id)
    if trial is not None:
        tables.update_trial(uow.connection, job_id, ended_at=uow.now().timestamp(), **values)
        advance(uow, trial.experiment_id)


HANDLERS: dict[type[Message], Handler] = {
    JobStarted: on_started,
    JobProgress: on_progress,
    JobSucceeded: on_succeeded,
    JobFailed: on_failed,
    JobCancelled: on_cancelled,
}
