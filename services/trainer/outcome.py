"""What the end of a child means for its job."""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from schemas.events import JobSucceeded
from services.kernel.artifacts import store_version
from services.kernel.errors import IntegrityFailed
from services.kernel.storage import ArtifactStore
from services.trainer.executors import Exit
from services.trainer.model import Claim
from services.trainer.workspace import RESULT_NAME, VERSION_NAME, Result


@dataclass(frozen=True)
class Finished:
    """There is a model, and it lies complete in the store."""

    result: Result

    def event(self, claim: Claim) -> JobSucceeded:
        """What the world is told."""
        result = self.result
        return JobSucceeded(
            job_id=claim.job_id,
            model_id=claim.job.model,
            job=claim.job,
            artifact=claim.artifact,
            manifest_digest=result.manifest_digest,
            content_digest=result.content_digest,
            dataset_digest=result.dataset_digest,
            metrics=result.metrics,
            register_as_version=claim.register_as_version,
            notes=result.notes,
            comparison=result.comparison,
            requested_by=claim.requested_by,
            **claim.origin,
        )


@dataclass(frozen=True)
class Rejected:
    """The job can't succeed, however often it is tried."""

    error: str
    detail: str


@dataclass(frozen=True)
class Lost:
    """No verdict on the job: its child died or a dependency was away. Worth another attempt."""

    why: str


Verdict = Finished | Rejected | Lost


def judge_exit(claim: Claim, folder: Path, ended: Exit, store: ArtifactStore) -> Verdict:
    """Read the child's result and, when there is a model, put it into the store, verified. Blocks.

    Raises `Unavailable` when the store is away.
    """
    if ended.limit:
        return Rejected("limit-reached", f"the training was stopped: {ended.limit}")
    path = folder / RESULT_NAME
    if not path.exists():
        if ended.code < 0:
            return Lost(f"the training process was killed by signal {-ended.code}")
        return Rejected("child-crashed", f"the training process ended with status {ended.code}: {ended.last_words}")
    try:
        result = Result.model_validate_json(path.read_bytes())
    except ValidationError:
        return Rejected("child-crashed", "the training process left an unreadable result")
    if result.failure is not None:
        return Rejected(result.failure.error, result.failure.detail)
    digest = store_version(store, folder / VERSION_NAME, claim.artifact)
    if digest != result.manifest_digest:
        raise IntegrityFailed("the stored manifest is not the one that the training process wrote")
    return Finished(result)
