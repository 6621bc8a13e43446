"""Metrics against scikit-learn, and the comparison's sums."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, f1_score, precision_score, recall_score

from services.trainer.evaluation import classification_metrics, compare


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50))
def test_metrics_are_those_of_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs).T
    scores = classification_metrics(np.eye(4, dtype=np.float32)[predicted], truth)
    seen = sorted(set(truth.tolist()))
    options = {"labels": seen, "average": "macro", "zero_division": 0}
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert scores["precision"] == pytest.approx(precision_score(truth, predicted, **options))
    assert scores["recall"] == pytest.approx(recall_score(truth, predicted, **options))
    assert scores["f1Score"] == pytest.approx(f1_score(truth, predicted, **options))


def test_a_class_that_the_network_does_not_know_is_always_wrong() -> None:
    scores = classification_metrics(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.array([-1, 1]))
    assert scores["accuracy"] == 0.5


def test_the_comparison_counts_every_row_once() -> None:
    truth = np.array(["a", "a", "b", "b", "c"])
    comparison = compare(
        np.array(["a", "b", "b", "a", "a"]),
        np.array(["a", "a", "b", "a", "c"]),
        truth,
        champion_version="1.0.1",
        dataset_digest="d",
    )
    assert (comparison.champion_accuracy, comparison.challenger_accuracy) == (0.4, 0.8)
    counts = (comparison.both_correct, comparison.only_champion, comparison.only_challenger, comparison.neither)
    assert counts == (2, 0, 2, 1)
    assert sum(counts) == comparison.rows
