"""An experiment going on: asking for trials, noticing the end, naming the best."""

from typing import Any, Literal

from schemas.commands import TrainingCancelled, TrainingRequested
from schemas.envelope import Envelope
from schemas.jobs import Experiment, TrainingJob
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork
from services.tuner import tables
from services.tuner.model import ExperimentState, Score, TrialState, best, with_parameters
from services.tuner.tables import json_of

log = get_logger(__name__)


def advance(uow: UnitOfWork, experiment_id: str) -> None:
    """Ask for trials while fewer than `parallel_trials` are under way; end the experiment when none is left.

    Locks the experiment, so that two tuners can't ask for the same trial.
    """
    row = tables.find(uow.connection, experiment_id, lock=True)
    if row is None:
        return
    rows = tables.trials_of(uow.connection, experiment_id)
    if row.state == ExperimentState.RUNNING:
        experiment = Experiment.model_validate_json(row.document)
        free = experiment.parallel_trials - sum(TrialState(trial.state).under_way for trial in rows)
        waiting = [trial for trial in rows if trial.state == TrialState.WAITING]
        for trial in waiting[: max(free, 0)]:
            _request(uow, row, trial)
        if all(TrialState(trial.state).ended for trial in rows):
            _finish(uow, row, experiment)


def stop(uow: UnitOfWork, row: Any, reason: str) -> None:
    """No further trials; those under way are cancelled. What has succeeded still names a best one."""
    now = uow.now().timestamp()
    tables.cancel_waiting(uow.connection, row.experiment_id, now=now, detail=reason)
    for trial in tables.trials_of(uow.connection, row.experiment_id):
        if TrialState(trial.state).under_way:
            uow.publish(TrainingCancelled(job_id=trial.job_id, reason=reason), cause=_cause(row))
    tables.update_experiment(uow.connection, row.experiment_id, state=ExperimentState.STOPPED, ended_at=now)


def note_best(uow: UnitOfWork, experiment_id: str, objective: Literal["maximize", "minimize"]) -> None:
    """Write down the best trial so far."""
    rows = tables.trials_of(uow.connection, experiment_id)
    scores = [Score(trial.number, trial.value) for trial in rows if trial.value is not None]
    winner = best(scores, objective)
    if winner is not None:
        tables.update_experiment(uow.connection, experiment_id, best_trial=winner.number, best_value=winner.value)


def _request(uow: UnitOfWork, row: Any, trial: Any) -> None:
    parameters = json_of(trial.parameters)
    job = with_parameters(TrainingJob.model_validate_json(row.base_job), parameters)
    wanted = TrainingRequested(
        job_id=trial.job_id,
        job=job,
        reason=f"trial {trial.number} of the experiment {row.name}",
        requested_by=row.requested_by,
        register_as_version=False,
        experiment_id=row.experiment_id,
        trial=trial.number,
    )
    uow.publish(wanted, cause=_cause(row))
    tables.update_trial(uow.connection, trial.job_id, state=TrialState.REQUESTED)


def _finish(uow: UnitOfWork, row: Any, experiment: Experiment) -> None:
    note_best(uow, row.experiment_id, experiment.objective)
    fresh = tables.find(uow.connection, row.experiment_id)
    found = fresh is not None and fresh.best_trial is not None
    state = ExperimentState.SUCCEEDED if found else ExperimentState.FAILED
    tables.update_experiment(uow.connection, row.experiment_id, state=state, ended_at=uow.now().timestamp())
    log.info("experiment_ended", experiment_id=row.experiment_id, state=state)


def _cause(row: Any) -> Envelope | None:
    return Envelope.model_validate_json(row.cause) if row.cause else None
