"""What the trainer does with messages: it records jobs and cancellations. The dispatcher does the work."""

import time

from schemas.base import Message
from schemas.commands import TrainingCancelled, TrainingRequested
from schemas.events import JobFailed
from services.kernel.bus.inbox import Handler
from services.kernel.errors import InvalidInput
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork
from services.trainer import tables
from services.trainer.endings import publish
from services.trainer.model import JobState
from services.trainer.vocabulary import check_job

log = get_logger(__name__)


def on_requested(message: TrainingRequested, uow: UnitOfWork) -> None:
    """Queue the job; one that no trainer understands has failed already. A known id changes nothing."""
    now = time.time()
    try:
        check_job(message.job)
    except InvalidInput as error:
        known = not tables.insert_job(
            uow.connection,
            message,
            now=now,
            cause=uow.envelope,
            state=JobState.FAILED,
            error=error.code,
            detail=error.detail,
        )
        if not known:
            failed = JobFailed(
                job_id=message.job_id,
                model_id=message.job.model,
                error=error.code,
                detail=error.detail,
                experiment_id=message.experiment_id,
                trial=message.trial,
                cycle_id=message.cycle_id,
            )
            publish(uow, failed, uow.envelope)
        return
    tables.insert_job(uow.connection, message, now=now, cause=uow.envelope)


def on_cancelled(message: TrainingCancelled, uow: UnitOfWork) -> None:
    """Ask whoever runs the job to stop it; one that has ended, or that nobody knows, stays as it is."""
    row = tables.find(uow.connection, message.job_id)
    if row is None or JobState(row.state).ended:
        log.info("cancellation_too_late", job_id=message.job_id, known=row is not None)
        return
    tables.request_cancel(uow.connection, message.job_id, message.reason)


HANDLERS: dict[type[Message], Handler] = {
    TrainingRequested: on_requested,
    TrainingCancelled: on_cancelled,
}
