"""When a signal opens a cycle, what is asked of the trainer, and which step may follow which."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from schemas.events import LoopStep
from schemas.jobs import DatasetConfig, Holdout, TrainingJob
from services.loop.model import FINAL, FOLLOWING, may_follow
from services.loop.policy import Situation, reason_not_to, retraining_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)
FINE = Situation(paused=False, cycle_open=False, serving_version="1.0.1", has_job=True, cooldown_until=None)


def test_a_signal_about_the_serving_version_opens_a_cycle() -> None:
    assert reason_not_to(FINE, "1.0.1", NOW) is None
    assert reason_not_to(replace(FINE, cooldown_until=NOW - timedelta(seconds=1)), "1.0.1", NOW) is None


@pytest.mark.parametrize(
    ("situation", "words"),
    [
        (replace(FINE, paused=True), "paused"),
        (replace(FINE, cycle_open=True), "open already"),
        (replace(FINE, serving_version=None), "nothing"),
        (replace(FINE, serving_version="1.0.2"), "1.0.2 is serving"),
        (replace(FINE, has_job=False), "registered from outside"),
        (replace(FINE, cooldown_until=NOW + timedelta(seconds=1)), "cool-down"),
    ],
)
def test_a_refusal_says_why(situation: Situation, words: str) -> None:
    assert words in str(reason_not_to(situation, "1.0.1", NOW))


def retrain(job: TrainingJob, dataset: str) -> TrainingJob:
    return retraining_job(
        job,
        model_id="m",
        dataset=dataset,
        fraction=0.3,
        champion_version="1.0.1",
        champion_artifact="models/m/x",
        champion_manifest_digest="d",
        changes="more rows",
    )


def test_a_retraining_keeps_the_old_rows_and_those_of_earlier_cycles() -> None:
    first = retrain(TrainingJob(model_type="m", dataset_config=DatasetConfig(train_path="t.csv")), "artifact:a")
    assert first.dataset_config.train_path == "t.csv"
    assert first.holdout == Holdout(
        path="artifact:a",
        fraction=0.3,
        champion_version="1.0.1",
        champion_artifact="models/m/x",
        champion_manifest_digest="d",
    )
    second = retrain(first, "artifact:b")
    assert second.dataset_config.additional_paths == ("artifact:a",)
    assert second.holdout is not None
    assert second.holdout.path == "artifact:b"


def test_every_path_through_the_machine_ends() -> None:
    assert set(FOLLOWING) == set(LoopStep)
    for step in LoopStep:
        seen, frontier = set(), {step}
        while frontier:
            seen |= frontier
            frontier = {after for before in frontier for after in FOLLOWING[before]} - seen
        assert seen & FINAL
    assert may_follow(LoopStep.NOTICED, LoopStep.GATHERING)
    assert not may_follow(LoopStep.PROMOTED, LoopStep.CANARY)
