"""What is different between two versions. Pure: from two manifests to one document."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from schemas.baseline import Baseline, FeatureBaseline
from schemas.features import Feature, Output
from schemas.manifest import Manifest

Better = Literal["a", "b", "same", "unknown"]

_UP = frozenset(
    (
        *("accuracy", "acc", "f1", "auc", "auroc", "auprc", "precision", "recall", "sensitivity", "specificity", "r2"),
        *("kappa", "mcc", "iou", "dice", "map", "ndcg", "mrr", "bleu", "rouge", "gini", "score", "throughput", "hits"),
    )
)
_DOWN = frozenset(
    (
        *("loss", "error", "errors", "err", "mae", "mse", "rmse", "mape", "smape", "rmsle", "logloss", "brier", "ece"),
        *("perplexity", "latency", "seconds", "ms", "fpr", "fnr", "wer", "cer", "deviance", "crossentropy", "eer"),
    )
)


@dataclass(frozen=True)
class MetricDifference:
    """A metric of either version; `delta` is b - a, `relative` that over |a|."""

    name: str
    a: float | None
    b: float | None
    delta: float | None
    relative: float | None
    better: Better


@dataclass(frozen=True)
class Difference:
    """A value that is not the same in both; None: it is not there."""

    name: str
    a: Any
    b: Any


@dataclass(frozen=True)
class FileDifference:
    """A file of either version."""

    path: str
    same: bool
    size_a: int | None
    size_b: int | None
    sha256_a: str | None
    sha256_b: str | None


@dataclass(frozen=True)
class BaselineDifference:
    """A watched quantity whose baselines differ: rows, mean, standard deviation, share of missing values."""

    name: str
    a: dict[str, float | None] | None
    b: dict[str, float | None] | None


@dataclass(frozen=True)
class Comparison:
    """Version `a` beside version `b`. Lists hold only what differs, but for metrics and files."""

    same_model: bool
    same_interface: bool
    metrics: tuple[MetricDifference, ...]
    hyperparameters: tuple[Difference, ...]
    inputs: tuple[Difference, ...]
    outputs: tuple[Difference, ...]
    classes: Difference | None
    lineage: tuple[Difference, ...]
    files: tuple[FileDifference, ...]
    baseline: tuple[BaselineDifference, ...]


def compare(a: Manifest, b: Manifest, baselines: tuple[Baseline | None, Baseline | None] = (None, None)) -> Comparison:
    """Every difference between two versions, each list in the order of names. O(size of both)."""
    inputs = _differences(_described(a.signature.inputs), _described(b.signature.inputs))
    outputs = _differences(_described(a.signature.outputs), _described(b.signature.outputs))
    classes = _listed(a.signature.classes), _listed(b.signature.classes)
    return Comparison(
        same_model=a.content_digest == b.content_digest,
        same_interface=not (inputs or outputs or classes[0] != classes[1]),
        metrics=tuple(_metric(name, a.metrics, b.metrics) for name in sorted({*a.metrics, *b.metrics})),
        hyperparameters=_differences(_flat(a.hyperparameters), _flat(b.hyperparameters)),
        inputs=inputs,
        outputs=outputs,
        classes=None if classes[0] == classes[1] else Difference("classes", *classes),
        lineage=_differences(a.lineage.model_dump(), b.lineage.model_dump()),
        files=_files(a, b),
        baseline=_baselines(*baselines),
    )


def direction(name: str) -> int:
    """1 if a greater value of the metric `name` is better, -1 if a smaller one is, 0 if its name does not tell.

    >>> direction("val_accuracy"), direction("log-loss"), direction("errorRate"), direction("support")
    (1, -1, -1, 0)
    """
    parts = [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])\d*|[A-Z]?[a-z]+\d*", name)]
    down = any(part in _DOWN for part in parts)
    up = any(part in _UP for part in parts)
    return -1 if down else 1 if up else 0


def _metric(name: str, of_a: Mapping[str, float], of_b: Mapping[str, float]) -> MetricDifference:
    a, b = _finite(of_a.get(name)), _finite(of_b.get(name))
    if a is None or b is None:
        return MetricDifference(name, a, b, None, None, "unknown")
    delta = _finite(b - a)
    relative = _finite(delta / abs(a)) if delta is not None and a != 0 else None
    way = direction(name)
    better: Better = "same" if a == b else "unknown" if way == 0 else "b" if (b > a) == (way > 0) else "a"
    return MetricDifference(name, a, b, delta, relative, better)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested objects as names with dots."""
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{before}{name}.")
        else:
            flat[f"{before}{name}"] = value
    return flat


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> tuple[Difference, ...]:
    names = sorted(name for name in {*a, *b} if a.get(name) != b.get(name))
    return tuple(Difference(name, a.get(name), b.get(name)) for name in names)


def _described(described: tuple[Feature, ...] | tuple[Output, ...]) -> dict[str, Any]:
    return {each.name: each.model_dump(mode="json", exclude={"name"}, exclude_defaults=True) for each in described}


def _listed(classes: tuple[str, ...] | None) -> list[str] | None:
    return None if classes is None else list(classes)


def _files(a: Manifest, b: Manifest) -> tuple[FileDifference, ...]:
    of_a, of_b = ({file.path: file for file in manifest.files} for manifest in (a, b))
    found = []
    for path in sorted({*of_a, *of_b}):
        one, other = of_a.get(path), of_b.get(path)
        found.append(
            FileDifference(
                path,
                same=one is not None and other is not None and one.sha256 == other.sha256,
                size_a=one.size if one else None,
                size_b=other.size if other else None,
                sha256_a=one.sha256 if one else None,
                sha256_b=other.sha256 if other else None,
            )
        )
    return tuple(found)


def _baselines(a: Baseline | None, b: Baseline | None) -> tuple[BaselineDifference, ...]:
    of_a, of_b = ({each.name: _summary(each) for each in found.features} if found else {} for found in (a, b))
    names = sorted(name for name in {*of_a, *of_b} if of_a.get(name) != of_b.get(name))
    return tuple(BaselineDifference(name, of_a.get(name), of_b.get(name)) for name in names)


def _summary(feature: FeatureBaseline) -> dict[str, float | None]:
    missing = feature.counts[-1] / feature.rows if feature.rows else None
    return {"rows": feature.rows, "mean": feature.mean, "std": feature.std, "missing": missing}
