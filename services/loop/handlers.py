"""What the loop makes of messages. HTTP calls are the driver's; handlers only write down."""

from functools import partial

from schemas.base import Message
from schemas.events import (
    DeploymentWanted,
    DriftFound,
    DriftOver,
    JobCancelled,
    JobFailed,
    JobSucceeded,
    LoopStep,
    ModelRegistered,
    PerformanceRestored,
    PerformanceWorse,
    ReplicaStatus,
    SignalState,
    Window,
)
from services.kernel.bus.inbox import Handler
from services.kernel.uow import UnitOfWork
from services.loop import tables
from services.loop.cycle import consider, step
from services.loop.settings import LoopSettings
from services.loop.tables import Signal


def drift_found(message: DriftFound, uow: UnitOfWork) -> None:
    """Values drifted: consider a cycle over the rows since the first drifted window."""
    _consider(message, message.first_window, uow)


def performance_worse(message: PerformanceWorse, uow: UnitOfWork) -> None:
    """Labels say that the model is worse: consider a cycle."""
    _consider(message, message.window, uow)


def _consider(message: DriftFound | PerformanceWorse, first: Window, uow: UnitOfWork) -> None:
    if message.state is SignalState.RESOLVED:
        tables.forget_signal(uow.connection, message.model_id, message.signal_id)
        return
    signal = Signal(
        signal_id=message.signal_id,
        model_id=message.model_id,
        version=message.version,
        since=first.start,
        explanation=message.explanation,
        cause=uow.envelope,
    )
    consider(uow, signal)


def signal_over(message: DriftOver | PerformanceRestored, uow: UnitOfWork) -> None:
    """The signal's cause is gone: it is not considered again."""
    tables.forget_signal(uow.connection, message.model_id, message.signal_id)


def job_succeeded(message: JobSucceeded, uow: UnitOfWork, *, cooldown_seconds: float) -> None:
    """Remember the job; if it is a cycle's, its comparison goes to the gate."""
    tables.save_job(uow.connection, message.job_id, message.job)
    cycle = tables.cycle_by_id(uow.connection, message.cycle_id) if message.cycle_id else None
    if cycle is None or cycle.job_id != message.job_id:
        return
    if message.comparison is None:
        why = "the trainer compared the challenger with nothing"
        step(uow, cycle, LoopStep.FAILED, why, cooldown_seconds=cooldown_seconds)
        return
    step(
        uow,
        cycle,
        LoopStep.PROVING,
        f"the challenger is trained; {message.comparison.rows} held-out rows will decide",
        cooldown_seconds=cooldown_seconds,
        facts=message.comparison.model_dump(mode="json"),
        comparison=message.comparison.model_dump_json(),
    )


def job_failed(message: JobFailed, uow: UnitOfWork, *, cooldown_seconds: float) -> None:
    """The cycle's training failed: the champion stays."""
    why = f"the training failed ({message.error}): {message.detail}"
    _ended_without_model(uow, message.cycle_id, message.job_id, why, cooldown_seconds)


def job_cancelled(message: JobCancelled, uow: UnitOfWork, *, cooldown_seconds: float) -> None:
    """The cycle's training was cancelled: the champion stays."""
    why = f"the training was cancelled: {message.reason}"
    _ended_without_model(uow, message.cycle_id, message.job_id, why, cooldown_seconds)


def _ended_without_model(uow: UnitOfWork, cycle_id: str | None, job_id: str, why: str, cooldown_seconds: float) -> None:
    cycle = tables.cycle_by_id(uow.connection, cycle_id) if cycle_id else None
    if cycle is not None and cycle.job_id == job_id:
        step(uow, cycle, LoopStep.FAILED, why, cooldown_seconds=cooldown_seconds)


def model_registered(message: ModelRegistered, uow: UnitOfWork) -> None:
    """Remember which job made the version; if it is a cycle's, it is the challenger."""
    tables.save_version(uow.connection, message.model_id, message.version, message.job_id)
    cycle = tables.cycle_by_id(uow.connection, message.cycle_id) if message.cycle_id else None
    if cycle is not None and cycle.job_id == message.job_id:
        tables.update_cycle(uow.connection, cycle.cycle_id, challenger_version=message.version)


def deployment_wanted(message: DeploymentWanted, uow: UnitOfWork) -> None:
    """Remember what is deployed."""
    tables.save_deployment(uow.connection, message)


def replica_status(message: ReplicaStatus, uow: UnitOfWork) -> None:
    """Remember what each replica really serves."""
    tables.save_replica(uow.connection, message)


def handlers(settings: LoopSettings) -> dict[type[Message], Handler]:
    """Every handler, bound to the cool-down that follows when it ends a cycle."""
    cooldown_seconds = settings.loop_cooldown_seconds
    return {
        DriftFound: drift_found,
        DriftOver: signal_over,
        PerformanceWorse: performance_worse,
        PerformanceRestored: signal_over,
        JobSucceeded: partial(job_succeeded, cooldown_seconds=cooldown_seconds),
        JobFailed: partial(job_failed, cooldown_seconds=cooldown_seconds),
        JobCancelled: partial(job_cancelled, cooldown_seconds=cooldown_seconds),
        ModelRegistered: model_registered,
        DeploymentWanted: deployment_wanted,
        ReplicaStatus: replica_status,
    }
