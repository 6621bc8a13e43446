"""What the loop makes of messages. HTTP calls are the driver's; handlers only write down."""

from schemas.base import Message
from schemas.events import (
    DeploymentWanted,
    DriftFound,
    JobCancelled,
    JobFailed,
    JobSucceeded,
    LoopStep,
    ModelRegistered,
    PerformanceWorse,
    ReplicaStatus,
    SignalState,
)
from services.kernel.bus.inbox import Handler
from services.kernel.uow import UnitOfWork
from services.loop import tables
from services.loop.cycle import consider, step


def drift_found(message: DriftFound, uow: UnitOfWork) -> None:
    """Values drifted: consider a cycle over the rows since the first drifted window."""
    consider(uow, message.model_id, message.version, message.first_window.start, message.explanation)


def performance_worse(message: PerformanceWorse, uow: UnitOfWork) -> None:
    """Labels say that the model is worse: consider a cycle."""
    if message.state is not SignalState.RESOLVED:
        consider(uow, message.model_id, message.version, message.window.start, message.explanation)


def job_succeeded(message: JobSucceeded, uow: UnitOfWork) -> None:
    """Remember the job; if it is a cycle's, its comparison goes to the gate."""
    tables.save_job(uow.connection, message.job_id, message.job)
    cycle = tables.cycle_by_id(uow.connection, message.cycle_id) if message.cycle_id else None
    if cycle is None or cycle.job_id != message.job_id:
        return
    if message.comparison is None:
        step(uow, cycle, LoopStep.FAILED, "the trainer compared the challenger with nothing")
        return
    step(
        uow,
        cycle,
        LoopStep.PROVING,
        f"the challenger is trained; {message.comparison.rows} held-out rows will decide",
        facts=message.comparison.model_dump(mode="json"),
        comparison=message.comparison.model_dump_json(),
    )


def job_failed(message: JobFailed, uow: UnitOfWork) -> None:
    """The cycle's training failed: the champion stays."""
    _ended_without_model(
        uow, message.cycle_id, message.job_id, f"the training failed ({message.error}): {message.detail}"
    )


def job_cancelled(message: JobCancelled, uow: UnitOfWork) -> None:
    """The cycle's training was cancelled: the champion stays."""
    _ended_without_model(uow, message.cycle_id, message.job_id, f"the training was cancelled: {message.reason}")


def _ended_without_model(uow: UnitOfWork, cycle_id: str | None, job_id: str, why: str) -> None:
    cycle = tables.cycle_by_id(uow.connection, cycle_id) if cycle_id else None
    if cycle is not None and cycle.job_id == job_id:
        step(uow, cycle, LoopStep.FAILED, why)


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


HANDLERS: dict[type[Message], Handler] = {
    DriftFound: drift_found,
    PerformanceWorse: performance_worse,
    JobSucceeded: job_succeeded,
    JobFailed: job_failed,
    JobCancelled: job_cancelled,
    ModelRegistered: model_registered,
    DeploymentWanted: deployment_wanted,
    ReplicaStatus: replica_status,
}
