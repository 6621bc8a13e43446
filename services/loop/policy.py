"""When to open a cycle, and what to ask the trainer for. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime

from schemas.jobs import Holdout, TrainingJob


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known about a model when a signal arrives."""

    paused: bool
    cycle_open: bool
    serving_version: str | None
    has_job: bool
    cooldown_until: datetime | None


def reason_not_to(situation: Situation, signal_version: str, now: datetime) -> str | None:
    """Why a signal about `signal_version` opens no cycle, or None when it does."""
    if situation.paused:
        return "the loop is paused for this model"
    if situation.cycle_open:
        return "a cycle is open already"
    if situation.serving_version is None:
        return "nothing of this model is deployed"
    if situation.serving_version != signal_version:
        return f"the signal is about {signal_version}, but {situation.serving_version} is serving"
    if not situation.has_job:
        return f"no training job of {signal_version} is known: it was registered from outside"
    if situation.cooldown_until is not None and now < situation.cooldown_until:
        return (
            f"the model's last cycle ended less than the cool-down ago (until {situation.cooldown_until.isoformat()})"
        )
    return None


def is_put_off(situation: Situation, signal_version: str, now: datetime) -> bool:
    """Whether nothing but a pause or the cool-down keeps a signal from opening a cycle."""
    later = replace(situation, paused=False, cooldown_until=None)
    return reason_not_to(situation, signal_version, now) is not None and (
        reason_not_to(later, signal_version, now) is None
    )


LONGEST_PAUSE_SECONDS = 10.0


def polling_pause_seconds(waited_seconds: float, tick_seconds: float) -> float:
    """How long to leave another service alone: a tenth of the wait so far, so patience costs little traffic."""
    return max(tick_seconds, min(LONGEST_PAUSE_SECONDS, waited_seconds / 10))


def retraining_job(
    champion_job: TrainingJob,
    *,
    model_id: str,
    dataset: str,
    fraction: float,
    champion_version: str,
    champion_artifact: str,
    champion_manifest_digest: str,
    changes: str,
) -> TrainingJob:
    """The champion's job over its old rows and the newly labelled ones, with a share of these held out.

    Datasets of earlier cycles stay in training: the champion's own holdout becomes an additional path.
    """
    data = champion_job.dataset_config
    earlier = data.additional_paths
    if champion_job.holdout is not None and champion_job.holdout.path not in earlier:
        earlier = (*earlier, champion_job.holdout.path)
    return champion_job.model_copy(
        update={
            "model_id": model_id,
            "dataset_config": data.model_copy(update={"additional_paths": earlier}),
            "holdout": Holdout(
                path=dataset,
                fraction=fraction,
                champion_version=champion_version,
                champion_artifact=champion_artifact,
                champion_manifest_digest=champion_manifest_digest,
            ),
            "changes": changes,
        }
    )
