"""Commands: what somebody asks for. One frozen model per message."""

from typing import ClassVar

from schemas.base import Message, Name
from schemas.jobs import TrainingJob


class TrainingRequested(Message):
    """Train a model. `register_as_version` is false for a trial, whose model is measured and not registered."""

    TYPE: ClassVar[str] = "trimtab.training.requested.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    job: TrainingJob
    reason: str = ""
    requested_by: str = ""
    register_as_version: bool = True
    experiment_id: Name | None = None
    trial: int | None = None
    cycle_id: str | None = None


class TrainingCancelled(Message):
    """Stop a job that is queued or running."""

    TYPE: ClassVar[str] = "trimtab.training.cancelled.v1"
    KEY: ClassVar[str] = "job_id"

    job_id: Name
    reason: str = ""
