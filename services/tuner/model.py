"""Experiments and trials, pure: what a parameter means in a job, and which trial is best."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from schemas.jobs import TrainingJob

METRICS = ("accuracy", "precision", "recall", "f1Score", "loss")
"""What a trial is measured by; with `test_` before it on the test rows (all but the loss)."""

PLACES = {
    "learning_rate": ("model_config", "optimizer", "learning_rate"),
    "decay": ("model_config", "optimizer", "decay"),
    "optimizer": ("model_config", "optimizer", "type"),
    "architecture": ("model_config", "architecture"),
    "layers": ("model_config", "layers"),
    "dropout": ("model_config", "dropout"),
    "loss": ("model_config", "loss"),
    "batch_size": ("training_config", "batch_size"),
    "epochs": ("training_config", "epochs"),
    "patience": ("training_config", "early_stopping", "patience"),
    "seed": ("training_config", "seed"),
}
"""Short parameter name -> its place in the job's JSON; any other place is written with dots."""


class ExperimentState(StrEnum):
    """Where an experiment stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


class TrialState(StrEnum):
    """Where a trial stands; `waiting` ones have not been asked for yet."""

    WAITING = "waiting"
    REQUESTED = "requested"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self in (TrialState.SUCCEEDED, TrialState.FAILED, TrialState.CANCELLED)

    @property
    def under_way(self) -> bool:
        """Whether a trainer has it, or will."""
        return self in (TrialState.REQUESTED, TrialState.RUNNING)


@dataclass(frozen=True)
class Score:
    """A trial that succeeded; `value` is NaN or infinite for a trial that measured nonsense."""

    number: int
    value: float


def place_of(parameter: str) -> tuple[str, ...]:
    """Where `parameter` goes in a job's JSON: a short name of `PLACES`, or a dotted path in either case.

    >>> place_of("learningRate"), place_of("datasetConfig.validationFraction")
    (('model_config', 'optimizer', 'learning_rate'), ('dataset_config', 'validation_fraction'))
    """
    parts = tuple(_snake(part) for part in parameter.split("."))
    if len(parts) == 1:
        return PLACES.get(parts[0], parts)
    return ("model_config", *parts[1:]) if parts[0] == "network" else parts


def with_parameters(job: TrainingJob, parameters: Mapping[str, Any]) -> TrainingJob:
    """`job` with the parameters in their places. Raises `pydantic.ValidationError` when it is no job any more.

    The comparison with a champion is left out: a trial competes with other trials.
    """
    document = job.model_dump(mode="json", by_alias=True)
    for parameter, value in parameters.items():
        place = place_of(parameter)
        inner = document
        for part in place[:-1]:
            inner = inner.setdefault(part, {})
        inner[place[-1]] = value
    if document.get("holdout"):
        for name in ("champion_version", "champion_artifact", "champion_manifest_digest"):
            document["holdout"].pop(name, None)
    return TrainingJob.model_validate(document)


def metric_name(metric: str) -> str | None:
    """The name in a trial's metrics that `metric` means (`f1`, `f1_score` are `f1Score`), or None."""
    prefix = "test_" if metric.startswith("test_") else ""
    plain = metric.removeprefix("test_")
    if plain.replace("_", "").lower() in ("f1", "f1score"):
        plain = "f1Score"
    return prefix + plain if plain in METRICS and not (prefix and plain == "loss") else None


def best(scores: Iterable[Score], objective: Literal["maximize", "minimize"]) -> Score | None:
    """The best finite score, the earliest of equals; None when there is none."""
    finite = sorted((score for score in scores if math.isfinite(score.value)), key=lambda score: score.number)
    if not finite:
        return None
    return (max if objective == "maximize" else min)(finite, key=lambda score: score.value)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
