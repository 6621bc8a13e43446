"""How jobs end, or come back into the queue: one transaction each, with the event that tells the world."""

import time
from typing import Any

from prometheus_client import Counter

from schemas.envelope import Envelope
from schemas.events import JobCancelled, JobFailed, JobProgress, JobStarted, JobSucceeded
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork
from services.trainer import tables
from services.trainer.model import Claim, JobState, after_loss
from services.trainer.outcome import Finished, Lost, Rejected, Verdict

log = get_logger(__name__)

RETRY_SECONDS = 2.0
"""Rest of a job between two attempts."""

ENDED = Counter("trimtab_trainer_jobs_total", "Jobs ended", ["state"])

JobEvent = JobStarted | JobProgress | JobSucceeded | JobFailed | JobCancelled


def publish(uow: UnitOfWork, event: JobEvent, cause: Envelope | None) -> None:
    """Tell the world, with the job's next revision."""
    uow.publish(event, revision=uow.next_revision("job", event.job_id), cause=cause)


def settle(uow: UnitOfWork, claim: Claim, verdict: Verdict, attempts: int) -> bool:
    """End the job as `verdict` says, or queue it again; nothing when the claim is a zombie's.

    True when the job has succeeded: else nobody will ever hear of what was stored.
    """
    row = tables.held(uow.connection, claim)
    if row is None:
        log.warning("verdict_of_a_zombie", job_id=claim.job_id, fence=claim.fence)
    elif row.cancel_requested:
        end_cancelled(uow, row)
    elif isinstance(verdict, Lost):
        settle_loss(uow, row, verdict.why, attempts)
    elif isinstance(verdict, Rejected):
        end_failed(uow, row, verdict.error, verdict.detail)
    else:
        end_succeeded(uow, claim, verdict)
        return True
    return False


def settle_loss(uow: UnitOfWork, row: Any, why: str, attempts: int) -> None:
    """Nobody's verdict: another attempt, up to `attempts`. `row` is locked and running."""
    state = after_loss(row.attempts, attempts, row.cancel_requested)
    log.warning("attempt_lost", job_id=row.job_id, attempt=row.attempts, why=why)
    if state is JobState.QUEUED:
        not_before = time.time() + RETRY_SECONDS
        tables.requeue(uow.connection, row.job_id, attempts=row.attempts, not_before=not_before, detail=why)
    elif state is JobState.CANCELLED:
        end_cancelled(uow, row)
    else:
        count = f"{row.attempts} attempt{'s' if row.attempts > 1 else ''}"
        end_failed(uow, row, "worker-lost", f"{why}; {count}, the limit of TRIMTAB_TRAINER_ATTEMPTS, came to nothing")


def give_back(uow: UnitOfWork, claim: Claim) -> None:
    """This process stops: the job waits for the next one, and this start does not count."""
    if tables.held(uow.connection, claim) is not None:
        tables.requeue(
            uow.connection, claim.job_id, attempts=claim.attempt - 1, not_before=0.0, detail="the trainer was stopped"
        )


def end_succeeded(uow: UnitOfWork, claim: Claim, finished: Finished) -> None:
    """There is a model."""
    tables.end(
        uow.connection,
        claim.job_id,
        JobState.SUCCEEDED,
        now=time.time(),
        outcome={"artifact": claim.artifact, **finished.result.model_dump(mode="json", exclude={"failure"})},
    )
    publish(uow, finished.event(claim), claim.cause)
    ENDED.labels(JobState.SUCCEEDED).inc()


def end_failed(uow: UnitOfWork, row: Any, error: str, detail: str) -> None:
    """There will be no model; `error` is a stable code."""
    tables.end(uow.connection, row.job_id, JobState.FAILED, now=time.time(), error=error, detail=detail)
    failed = JobFailed(job_id=row.job_id, model_id=row.model_id, error=error, detail=detail, **_origin(row))
    publish(uow, failed, cause_of(row))
    ENDED.labels(JobState.FAILED).inc()
    log.warning("job_failed", job_id=row.job_id, error=error, detail=detail)


def end_cancelled(uow: UnitOfWork, row: Any) -> None:
    """Stopped on request."""
    tables.end(uow.connection, row.job_id, JobState.CANCELLED, now=time.time(), detail=row.cancel_reason)
    cancelled = JobCancelled(job_id=row.job_id, model_id=row.model_id, reason=row.cancel_reason, **_origin(row))
    publish(uow, cancelled, cause_of(row))
    ENDED.labels(JobState.CANCELLED).inc()


def _origin(row: Any) -> dict[str, Any]:
    return {"experiment_id": row.experiment_id, "trial": row.trial, "cycle_id": row.cycle_id}


def cause_of(row: Any) -> Envelope | None:
    """The event that the job goes back to."""
    return Envelope.model_validate_json(row.cause) if row.cause else None
