"""How good probabilities are, and whether a challenger beats a champion."""

import numpy as np
from numpy.typing import NDArray

from schemas.events import Comparison
from services.trainer.encoding import Matrix


def classification_metrics(probabilities: Matrix, labels: NDArray[np.int64]) -> dict[str, float]:
    """accuracy and macro-averaged precision, recall and f1Score of `[rows, classes]` against class indices `[rows]`.

    The averages run over the classes that occur in the labels; a class never predicted has precision 0. A label of -1
    (a class that the network does not know) is always wrong.

    >>> p = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], dtype=np.float32)
    >>> scores = classification_metrics(p, np.array([0, 1, 1]))
    >>> {name: round(value, 3) for name, value in scores.items()}
    {'accuracy': 0.667, 'precision': 0.75, 'recall': 0.75, 'f1Score': 0.667}
    """
    predicted = probabilities.argmax(axis=1)
    classes = probabilities.shape[1]
    hits = np.bincount(labels[predicted == labels], minlength=classes)
    support = np.bincount(labels[labels >= 0], minlength=classes)
    claimed = np.bincount(predicted, minlength=classes)
    seen = support > 0
    precision = hits / np.maximum(claimed, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(claimed + support, 1)
    return {
        "accuracy": float((predicted == labels).mean()) if labels.size else 0.0,
        "precision": float(precision[seen].mean()) if seen.any() else 0.0,
        "recall": float(recall[seen].mean()) if seen.any() else 0.0,
        "f1Score": float(f1[seen].mean()) if seen.any() else 0.0,
    }


def compare(
    champion_labels: NDArray[np.str_],
    challenger_labels: NDArray[np.str_],
    truth: NDArray[np.str_],
    *,
    champion_version: str,
    dataset_digest: str,
) -> Comparison:
    """Both models' predicted class names against the true ones, row by row (what McNemar's test needs)."""
    champion, challenger = champion_labels == truth, challenger_labels == truth
    rows = len(truth)
    return Comparison(
        rows=rows,
        dataset_digest=dataset_digest,
        champion_version=champion_version,
        champion_accuracy=float(champion.mean()),
        challenger_accuracy=float(challenger.mean()),
        both_correct=int((champion & challenger).sum()),
        only_champion=int((champion & ~challenger).sum()),
        only_challenger=int((~champion & challenger).sum()),
        neither=int((~champion & ~challenger).sum()),
    )
