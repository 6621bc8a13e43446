"""From a claim to a folder that a child can work in: artifacts fetched and verified, the task written."""

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from schemas.jobs import TrainingJob
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import MAX_MANIFEST_BYTES, discard_version, file_sha256, load_version
from services.kernel.errors import IntegrityFailed, InvalidInput, NotFound
from services.kernel.storage import ArtifactStore
from services.trainer.model import Claim
from services.trainer.reading import ARTIFACT_PREFIX
from services.trainer.settings import TrainerSettings
from services.trainer.workspace import TASK_NAME, Champion, Task

INPUTS_NAME = "inputs"
CHAMPION_NAME = "champion"


def prepare(claim: Claim, folder: Path, store: ArtifactStore, settings: TrainerSettings) -> None:
    """Make `folder` anew and fill it; remove what lost attempts have stored. Blocks.

    Raises `InvalidInput` naming the field whose artifact is not there or whose path is not allowed, `IntegrityFailed`,
    and `Unavailable` when the store is away.
    """
    check_paths(claim.job, settings.data_roots)
    for orphan in claim.earlier_artifacts:
        discard_version(store, orphan)
    inputs = folder / INPUTS_NAME
    shutil.rmtree(folder, ignore_errors=True)
    inputs.mkdir(parents=True)
    task = Task(
        job_id=claim.job_id,
        job=claim.job,
        created_at=datetime.now(UTC),
        inputs={
            reference: _fetch(reference, field, inputs / f"{number}-{PurePosixPath(reference).name}", store)
            for number, (field, reference) in enumerate(references(claim.job))
        },
        champion=_champion(claim.job, folder / CHAMPION_NAME, store),
        threads=settings.trainer_threads,
        niceness=settings.trainer_niceness,
        **claim.origin,
    )
    (folder / TASK_NAME).write_text(task.model_dump_json(by_alias=True))


def check_paths(job: TrainingJob, roots: Sequence[Path]) -> None:
    """Raise `InvalidInput` naming the field whose path lies in none of `roots`; no roots: every path may be read."""
    for field, path in _named(job):
        resolved = Path(path.replace("\0", "")).resolve()
        if roots and not path.startswith(ARTIFACT_PREFIX) and not any(resolved.is_relative_to(root) for root in roots):
            raise InvalidInput(
                f"{field}: {path} is outside of the folders that TRIMTAB_TRAINER_DATA_ROOTS allows", field=field
            )


def references(job: TrainingJob) -> Iterator[tuple[str, str]]:
    """(field, reference) of every `artifact:KEY` that the job names."""
    yield from ((field, path) for field, path in _named(job) if path.startswith(ARTIFACT_PREFIX))


def _named(job: TrainingJob) -> Iterator[tuple[str, str]]:
    config = job.dataset_config
    named = [
        ("datasetConfig.trainPath", config.train_path),
        ("datasetConfig.validationPath", config.validation_path),
        ("datasetConfig.testPath", config.test_path),
        *((f"datasetConfig.additionalPaths[{n}]", path) for n, path in enumerate(config.additional_paths)),
        ("holdout.path", job.holdout.path if job.holdout else None),
    ]
    yield from ((field, path) for field, path in named if path is not None)


def _fetch(reference: str, field: str, path: Path, store: ArtifactStore) -> Path:
    key = reference.removeprefix(ARTIFACT_PREFIX)
    try:
        store.fetch(key, path)
    except NotFound as error:
        raise InvalidInput(f"{field}: the artifact store has no {key}", field=field) from error
    claimed = PurePosixPath(key).name.partition(".")[0]
    if len(claimed) == 64 and set(claimed) <= set("0123456789abcdef") and file_sha256(path) != claimed:
        raise IntegrityFailed(f"{field}: {key} does not have the digest that its name says")
    return path.absolute()


def _champion(job: TrainingJob, cache: Path, store: ArtifactStore) -> Champion | None:
    holdout = job.holdout
    if holdout is None or holdout.champion_artifact is None or holdout.champion_version is None:
        return None
    prefix = holdout.champion_artifact
    try:
        digest = holdout.champion_manifest_digest or _manifest_digest(store, prefix)
        directory = load_version(store, prefix, cache.absolute(), digest)
    except NotFound as error:
        field = "holdout.championArtifact"
        raise InvalidInput(f"{field}: the artifact store has no version at {prefix}", field=field) from error
    return Champion(version=holdout.champion_version, directory=directory)


def _manifest_digest(store: ArtifactStore, prefix: str) -> str:
    return hashlib.sha256(store.get_bytes(f"{prefix}/{MANIFEST_NAME}", max_bytes=MAX_MANIFEST_BYTES)).hexdigest()
