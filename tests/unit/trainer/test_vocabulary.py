"""Names that no trainer knows are refused before a job is taken, each by its field."""

from typing import Any

import numpy as np
import pytest

from schemas.jobs import TrainingJob
from services.kernel.errors import InvalidInput
from services.trainer.augmentation import augmented
from services.trainer.vocabulary import check_job, monitor_name

REQUIREMENTS_EXAMPLE = {
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


def test_the_requirements_example_is_valid_as_it_is() -> None:
    check_job(TrainingJob.model_validate(REQUIREMENTS_EXAMPLE))


@pytest.mark.parametrize(
    ("part", "value", "field"),
    [
        ("modelConfig", {"architecture": "perceptron"}, "modelConfig.architecture"),
        ("modelConfig", {"optimizer": {"type": "newton"}}, "modelConfig.optimizer.type"),
        ("modelConfig", {"loss": "mse"}, "modelConfig.loss"),
        ("modelConfig", {"metrics": ["bleu"]}, "modelConfig.metrics"),
        ("trainingConfig", {"earlyStopping": {"monitor": "mood"}}, "trainingConfig.earlyStopping.monitor"),
        (
            "datasetConfig",
            {"trainPath": "x", "augmentation": {"techniques": ["mixup"]}},
            "datasetConfig.augmentation.techniques",
        ),
    ],
)
def test_an_unknown_name_is_refused_with_the_known_ones(part: str, value: dict[str, Any], field: str) -> None:
    job = TrainingJob.model_validate(REQUIREMENTS_EXAMPLE | {part: value})
    with pytest.raises(InvalidInput, match="there are") as raised:
        check_job(job)
    assert raised.value.facts["field"] == field


@pytest.mark.parametrize("name", ["val_f1", "val_f1Score", "val_f1_score"])
def test_spellings_of_f1(name: str) -> None:
    assert monitor_name(name) == "val_f1Score"


def test_augmentation_changes_numbers_only_and_rotation_keeps_lengths() -> None:
    rows = np.random.default_rng(1).normal(size=(50, 6)).astype(np.float32)
    labels = np.arange(50)
    more, more_labels = augmented(rows, labels, 4, ("noise", "rotation"), seed=3)
    assert more.shape == (150, 6)
    assert np.array_equal(more_labels, np.tile(labels, 3))
    assert np.array_equal(more[:50], rows)
    assert np.array_equal(more[:, 4:], np.tile(rows[:, 4:], (3, 1)))
    assert np.allclose(np.linalg.norm(more[100:, :4], axis=1), np.linalg.norm(rows[:, :4], axis=1), atol=1e-5)
    assert 0.03 < (more[50:100, :4] - rows[:, :4]).std() < 0.07
