"""Which training job an experiment varies."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from schemas.jobs import Experiment, TrainingJob
from services.kernel.errors import InvalidInput, Misconfigured


@dataclass(frozen=True)
class BaseJob:
    """The job, and in words where it comes from."""

    job: TrainingJob
    origin: str


def choose_base_job(
    experiment: Experiment, known: Mapping[str, tuple[str, TrainingJob]], default: Path | None
) -> BaseJob:
    """`baseJob`; else the last successful job of `modelId`; without a `modelId`, of the model whose id the experiment's
    name begins with (the longest); else the configured default. `known`: model id -> (job id, job).

    Raises `InvalidInput` that says which field helps.
    """
    if experiment.base_job is not None:
        job = experiment.base_job
        return BaseJob(job.model_copy(update={"model_id": experiment.model_id or job.model}), "the request")
    model_id = experiment.model_id or max(filter(experiment.name.startswith, known), key=len, default=None)
    if model_id is not None and model_id in known:
        job_id, job = known[model_id]
        return BaseJob(job, f"the last job of {model_id}, {job_id}")
    if default is not None:
        job = _read(default)
        return BaseJob(job.model_copy(update={"model_id": model_id or job.model}), f"the default job {default.name}")
    models = f"models with a job: {', '.join(sorted(known))}" if known else "no model has one yet"
    if experiment.model_id is not None:
        raise InvalidInput(
            f"baseJob: no successful training job of {experiment.model_id!r} is known ({models}); give the job to vary",
            field="baseJob",
        )
    raise InvalidInput(
        f"baseJob: give the training job to vary, or as modelId a model whose last job is the base ({models})",
        field="baseJob",
    )


def _read(path: Path) -> TrainingJob:
    try:
        return TrainingJob.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise Misconfigured(f"TRIMTAB_TUNER_DEFAULT_JOB: {path} is not a readable training job: {error}") from error
