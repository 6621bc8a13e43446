"""A job's folder, the only thing that the service and its child process share.

`task.json` goes in; `result.json` and the model directory `version/` come out; progress is JSON lines on stdout.
"""

from datetime import datetime
from pathlib import Path

from pydantic import Field

from schemas.base import Document, Name, Version
from schemas.events import Comparison
from schemas.jobs import TrainingJob

TASK_NAME = "task.json"
RESULT_NAME = "result.json"
VERSION_NAME = "version"
LOG_NAME = "child.log"


class Champion(Document):
    """The model to compare with: its verified directory on this machine."""

    version: Version
    directory: Path


class Task(Document):
    """What the child is to do. `inputs` are the local copies of the `artifact:KEY` references."""

    job_id: Name
    job: TrainingJob
    created_at: datetime
    inputs: dict[str, Path] = {}
    champion: Champion | None = None
    threads: int = Field(default=0, ge=0)
    niceness: int = Field(default=0, ge=0)
    experiment_id: Name | None = None
    trial: int | None = None
    cycle_id: str | None = None


class EpochReport(Document):
    """One line of progress; `epoch` counts from 1."""

    epoch: int
    epochs: int
    metrics: dict[str, float]
    eta_seconds: float


class Failure(Document):
    """Why there is no model: a stable code and a sentence."""

    error: str
    detail: str


class Result(Document):
    """How the job ended: either `failure`, or all the rest. Seconds are wall time by stage."""

    failure: Failure | None = None
    manifest_digest: str = ""
    content_digest: str = ""
    dataset_digest: str = ""
    metrics: dict[str, float] = {}
    notes: tuple[str, ...] = ()
    comparison: Comparison | None = None
    best_epoch: int = 0
    seconds: dict[str, float] = {}
