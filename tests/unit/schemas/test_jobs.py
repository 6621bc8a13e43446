"""Training jobs and experiments as people write them."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.jobs import Experiment, SearchStrategy, TrainingJob

TRAINING_EXAMPLE: dict[str, Any] = {
    "modelType": "threat-classifier",
    "datasetConfig": {
        "trainPath": "/data/train",
        "validationPath": "/data/validation",
        "testPath": "/data/test",
        "augmentation": {"enabled": True, "techniques": ["noise", "rotation"]},
    },
    "modelConfig": {
        "architecture": "lstm",
        "optimizer": {"type": "adam", "learningRate": 0.001, "decay": 0.0001},
        "loss": "categorical_crossentropy",
        "metrics": ["accuracy", "precision", "recall"],
    },
    "trainingConfig": {
        "epochs": 50,
        "batchSize": 32,
        "earlyStopping": {"enabled": True, "patience": 5, "monitor": "val_loss", "mode": "min"},
    },
}
EXPERIMENT_EXAMPLE: dict[str, Any] = {
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


def test_the_training_example_of_the_requirements_is_a_job() -> None:
    job = TrainingJob.model_validate(TRAINING_EXAMPLE)
    assert job.model == "threat-classifier"
    assert job.dataset_config.validation_path == "/data/validation"
    assert job.dataset_config.augmentation.techniques == ("noise", "rotation")
    assert job.network.architecture == "lstm"
    assert job.network.optimizer.decay == 0.0001
    assert job.training_config.batch_size == 32
    assert job.training_config.early_stopping.mode == "min"


def test_the_experiment_example_of_the_requirements_is_an_experiment() -> None:
    experiment = Experiment.model_validate(EXPERIMENT_EXAMPLE)
    assert experiment.search_strategy is SearchStrategy.BAYESIAN
    assert experiment.search_space["batch_size"].choices == (16, 32, 64, 128)
    assert (experiment.max_trials, experiment.parallel_trials) == (50, 4)


def test_a_job_is_written_in_snake_case_and_read_again() -> None:
    job = TrainingJob.model_validate(TRAINING_EXAMPLE)
    written = job.model_dump(mode="json", by_alias=True)
    assert written["model_config"]["optimizer"]["learning_rate"] == 0.001
    assert "network" not in written
    assert TrainingJob.model_validate(written) == job
    assert TrainingJob.model_validate_json(job.model_dump_json(by_alias=True)) == job


def test_model_id_defaults_to_the_model_type() -> None:
    job = TrainingJob.model_validate({**TRAINING_EXAMPLE, "modelId": "threat-classifier-001"})
    assert job.model == "threat-classifier-001"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"modelConfg": {}}, "modelConfg"),
        ({"datasetConfig": {"trainPath": "/d", "validatonPath": "/v"}}, "validatonPath"),
        ({"trainingConfig": {"epochs": 0}}, "epochs"),
        ({"modelConfig": {"dropout": 1.0}}, "dropout"),
        ({"modelConfig": {"optimizer": {"learningRate": 0}}}, "learningRate"),
        ({"modelConfig": {"layers": [0]}}, "layers"),
        ({"modelType": "../etc"}, "modelType"),
        ({"datasetConfig": {}}, "train"),
    ],
)
def test_a_wrong_job_is_refused_by_the_name_of_the_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        TrainingJob.model_validate(TRAINING_EXAMPLE | change)
    assert named in str(refusal.value)


@pytest.mark.parametrize(
    "dimension",
    [
        {"type": "categorical"},
        {"type": "categorical", "choices": []},
        {"type": "float", "low": 1.0, "high": 1.0},
        {"type": "int", "low": 1},
        {"type": "log_uniform", "low": 0.0, "high": 1.0},
    ],
)
def test_a_dimension_without_a_range_is_refused(dimension: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"needs"):
        Experiment.model_validate({**EXPERIMENT_EXAMPLE, "searchSpace": {"x": dimension}})


def test_an_empty_search_space_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"searchSpace|search_space"):
        Experiment.model_validate({**EXPERIMENT_EXAMPLE, "searchSpace": {}})
