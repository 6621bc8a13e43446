"""What a parameter means in a job, which base job is varied, which trial is best."""

import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs import Experiment, TrainingJob
from services.kernel.errors import InvalidInput, Misconfigured, NotBuilt
from services.tuner.base_job import choose_base_job
from services.tuner.model import Score, best, metric_name, place_of, with_parameters
from services.tuner.planning import plan

JOB = TrainingJob.model_validate({"modelType": "line", "datasetConfig": {"trainPath": "train.csv"}})

REQUIREMENTS_EXAMPLE = {
    "name": "threat-classifier-optimization",
    "objective": "maximize",
    "metric": "accuracy",
    "searchSpace": {
        "learning_rate": {"type": "log_uniform", "low": 0.0001, "high": 0.1},
        "batch_size": {"type": "categorical", "choices": [16, 32, 64, 128]},
        "dropout": {"type": "float", "low": 0.1, "high": 0.5},
    },
    "searchStrategy": "bayesian",
    "maxTrials": 50,
    "parallelTrials": 4,
}


def _experiment(**changes: Any) -> Experiment:
    return Experiment.model_validate(REQUIREMENTS_EXAMPLE | {"searchStrategy": "random"} | changes)


def test_short_names_go_to_their_places() -> None:
    job = with_parameters(JOB, {"learning_rate": 0.5, "batchSize": 16, "dropout": 0.3, "layers": [4, 2]})
    assert job.network.optimizer.learning_rate == 0.5
    assert job.training_config.batch_size == 16
    assert job.network.dropout == 0.3
    assert job.network.layers == (4, 2)
    assert JOB.training_config.batch_size == 128


@pytest.mark.parametrize("path", ["modelConfig.optimizer.type", "network.optimizer.type", "optimizer"])
def test_paths_are_read_in_either_case(path: str) -> None:
    assert place_of(path) == ("model_config", "optimizer", "type")
    assert with_parameters(JOB, {path: "sgd"}).network.optimizer.type == "sgd"


@pytest.mark.parametrize("parameters", [{"momentum": 1}, {"dropout": 2.0}, {"datasetConfig.color": "red"}])
def test_what_makes_no_job_is_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        with_parameters(JOB, parameters)


def test_a_trial_is_compared_with_no_champion_but_keeps_its_rows() -> None:
    holdout = {"path": "artifact:d.parquet", "championVersion": "1.0.1", "championArtifact": "models/line/a"}
    job = TrainingJob.model_validate(JOB.model_dump(by_alias=True) | {"holdout": holdout})
    trial = with_parameters(job, {"dropout": 0.1})
    assert trial.holdout is not None
    assert trial.holdout.path == "artifact:d.parquet"
    assert trial.holdout.champion_artifact is None


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("accuracy", "accuracy"),
        ("f1", "f1Score"),
        ("f1_score", "f1Score"),
        ("test_f1Score", "test_f1Score"),
        ("test_loss", None),
        ("bleu", None),
    ],
)
def test_metric_names(metric: str, name: str | None) -> None:
    assert metric_name(metric) == name


def test_the_best_is_finite_and_the_earliest_of_equals() -> None:
    scores = [Score(3, 0.9), Score(2, 0.9), Score(1, 0.1), Score(4, math.nan), Score(5, math.inf)]
    assert best(scores, "maximize") == Score(2, 0.9)
    assert best(scores, "minimize") == Score(1, 0.1)
    assert best([Score(1, math.nan)], "maximize") is None


def test_the_base_job_and_where_it_comes_from(tmp_path: Path) -> None:
    other = JOB.model_copy(update={"model_type": "threat-classifier"})
    known = {"line": ("job-1", JOB), "threat": ("job-2", JOB), "threat-classifier": ("job-3", other)}
    given = _experiment(baseJob=JOB.model_dump(mode="json", by_alias=True), modelId="mine")
    assert choose_base_job(given, known, None).job.model == "mine"
    assert choose_base_job(_experiment(modelId="line"), known, None).origin == "the last job of line, job-1"
    assert choose_base_job(_experiment(), known, None).origin == "the last job of threat-classifier, job-3"
    default = tmp_path / "default.json"
    default.write_text(JOB.model_dump_json(by_alias=True))
    assert choose_base_job(_experiment(modelId="new"), known, default).job.model == "new"
    assert choose_base_job(_experiment(), {}, default).origin == "the default job default.json"
    with pytest.raises(InvalidInput, match="no successful training job of 'new' is known"):
        choose_base_job(_experiment(modelId="new"), known, None)
    with pytest.raises(InvalidInput, match="no model has one yet"):
        choose_base_job(_experiment(), {}, None)
    with pytest.raises(Misconfigured, match="TRIMTAB_TUNER_DEFAULT_JOB"):
        choose_base_job(_experiment(), {}, tmp_path / "none.json")


def test_the_requirements_example_is_read_and_its_strategy_is_not_built() -> None:
    with pytest.raises(NotBuilt, match="there are random, grid"):
        plan(Experiment.model_validate(REQUIREMENTS_EXAMPLE), JOB)
    assert len(plan(_experiment(), JOB)) == 50


@pytest.mark.parametrize(
    ("space", "field"),
    [
        ({"momentum": {"type": "float", "low": 0, "high": 1}}, "searchSpace.momentum"),
        ({"dropout": {"type": "categorical", "choices": ["much"]}}, "searchSpace.dropout"),
        ({"batch_size": {"type": "float", "low": 0.1, "high": 0.9}}, "searchSpace.batch_size"),
        ({"batch_size": {"type": "int", "low": 0.1, "high": 0.9}}, "searchSpace.batch_size"),
        ({"description.length": {"type": "int", "low": 1, "high": 2}}, "searchSpace.description.length"),
    ],
)
def test_a_dimension_that_makes_no_job_is_named(space: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        plan(_experiment(searchSpace=space), JOB)
    assert raised.value.facts["field"] == field
