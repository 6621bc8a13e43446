"""A training job's life: queued -> running -> succeeded, failed or cancelled. Pure."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from schemas.envelope import Envelope
from schemas.jobs import TrainingJob


class JobState(StrEnum):
    """Where a job stands; the last three end it."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker. Whatever it writes is fenced by `fence`, which grows with every claim."""

    job_id: str
    job: TrainingJob
    attempt: int
    fence: int
    register_as_version: bool
    requested_by: str
    experiment_id: str | None
    trial: int | None
    cycle_id: str | None
    cause: Envelope | None

    @property
    def origin(self) -> dict[str, Any]:
        """The fields that tie the job's events to an experiment or a cycle."""
        return {"experiment_id": self.experiment_id, "trial": self.trial, "cycle_id": self.cycle_id}

    @property
    def artifact(self) -> str:
        """Where the model directory goes in the store; an attempt never overwrites another's."""
        return self._artifact_of(self.fence)

    @property
    def earlier_artifacts(self) -> list[str]:
        """Where attempts that were lost may have left theirs."""
        return [self._artifact_of(fence) for fence in range(1, self.fence)]

    def _artifact_of(self, fence: int) -> str:
        folder = "models" if self.register_as_version else "trials"
        return f"{folder}/{self.job.model}/{self.job_id}.{fence}"


def after_loss(attempts: int, most: int, cancel_requested: bool) -> JobState:
    """What becomes of a job whose worker or child was lost in attempt number `attempts`.

    >>> after_loss(1, 2, False), after_loss(2, 2, False), after_loss(1, 2, True)
    (<JobState.QUEUED: 'queued'>, <JobState.FAILED: 'failed'>, <JobState.CANCELLED: 'cancelled'>)
    """
    if cancel_requested:
        return JobState.CANCELLED
    return JobState.QUEUED if attempts < most else JobState.FAILED
