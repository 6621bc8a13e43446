"""What is different between two versions; which metrics are better up, which down."""

import math
from typing import Any

import pytest

from schemas.baseline import Baseline, FeatureBaseline, Kind
from schemas.features import DType, Feature
from schemas.manifest import Lineage, Manifest, ManifestFile, content_digest
from services.registry.insight.comparison import Difference, compare, direction
from tests.golden.registry_database import SIGNATURE
from tests.golden.samples import NOON


def manifest(sha256: str = "a", **changes: Any) -> Manifest:
    """A version with a model and notes."""
    files = (
        ManifestFile(path="model.onnx", size=10, sha256=sha256 * 64, is_model=True),
        ManifestFile(path="notes.txt", size=5, sha256="e" * 64),
    )
    values: dict[str, Any] = {
        "model_id": "m",
        "framework": "onnx",
        "files": files,
        "content_digest": content_digest(files),
        "signature": SIGNATURE,
        "created_at": NOON,
    }
    return Manifest(**{**values, **changes})


def test_a_version_does_not_differ_from_itself() -> None:
    found = compare(manifest(metrics={"f1": 0.5}), manifest(metrics={"f1": 0.5}))
    assert found.same_model
    assert found.same_interface
    assert [metric.better for metric in found.metrics] == ["same"]
    assert all(file.same for file in found.files)
    assert (*found.hyperparameters, *found.inputs, *found.outputs, *found.lineage, found.classes) == (None,)


@pytest.mark.parametrize(
    ("name", "a", "b", "better"),
    [
        ("val_accuracy", 0.8, 0.9, "b"),
        ("f1", 0.9, 0.8, "a"),
        ("rocAUC", 0.8, 0.9, "b"),
        ("loss", 0.9, 0.8, "b"),
        ("errorRate", 0.1, 0.2, "a"),
        ("p99_latency_ms", 10.0, 20.0, "a"),
        ("log-loss", 0.5, 0.4, "b"),
        ("support", 10.0, 20.0, "unknown"),
        ("glossary", 10.0, 20.0, "unknown"),
        ("recall", 0.5, 0.5, "same"),
    ],
)
def test_the_name_of_a_metric_tells_which_value_is_better(name: str, a: float, b: float, better: str) -> None:
    (metric,) = compare(manifest(metrics={name: a}), manifest(metrics={name: b})).metrics
    assert (metric.better, metric.delta) == (better, b - a)
    assert direction(name) in (-1, 0, 1)


def test_a_metric_that_only_one_has_or_that_is_no_number_has_no_change() -> None:
    found = compare(
        manifest(metrics={"f1": 0.5, "auc": math.nan, "zero": 0.0}), manifest(metrics={"auc": 1.0, "zero": 1.0})
    )
    by_name = {metric.name: metric for metric in found.metrics}
    assert (by_name["f1"].a, by_name["f1"].b, by_name["f1"].delta, by_name["f1"].better) == (0.5, None, None, "unknown")
    assert (by_name["auc"].a, by_name["auc"].b, by_name["auc"].delta) == (None, 1.0, None)
    assert (by_name["zero"].delta, by_name["zero"].relative) == (1.0, None)


def test_parameters_lineage_and_files_that_differ_are_named() -> None:
    one = manifest(hyperparameters={"lr": 0.1, "layers": {"first": 64, "second": 32}, "same": [1]})
    two = manifest(
        "b", hyperparameters={"lr": 0.2, "layers": {"first": 64}, "same": [1]}, lineage=Lineage(job_id="job-1", trial=3)
    )
    found = compare(one, two)
    assert found.hyperparameters == (Difference("layers.second", 32, None), Difference("lr", 0.1, 0.2))
    assert found.lineage == (Difference("job_id", None, "job-1"), Difference("trial", None, 3))
    assert [(file.path, file.same) for file in found.files] == [("model.onnx", False), ("notes.txt", True)]
    assert not found.same_model


def test_inputs_that_were_added_removed_or_changed_are_named() -> None:
    duration, protocol = SIGNATURE.inputs
    changed = duration.model_copy(update={"dtype": DType.FLOAT64, "nullable": True})
    signature = SIGNATURE.model_copy(
        update={"inputs": (changed, Feature(name="flags", dtype=DType.STRING)), "classes": ("no", "yes")}
    )
    found = compare(manifest(), manifest(signature=signature))
    assert found.inputs == (
        Difference("duration", {"dtype": "float32"}, {"dtype": "float64", "nullable": True}),
        Difference("flags", None, {"dtype": "string"}),
        Difference(protocol.name, {"dtype": "string"}, None),
    )
    assert found.classes == Difference("classes", ["normal", "attack"], ["no", "yes"])
    assert not found.same_interface


def test_baselines_are_compared_by_their_figures() -> None:
    def baseline(mean: float) -> Baseline:
        feature = FeatureBaseline(
            name="duration",
            column="duration",
            kind=Kind.NUMBER,
            dtype=DType.FLOAT32,
            rows=4,
            counts=(3, 1),
            values=(),
            grid=(),
            grid_counts=(3, 1),
            mean=mean,
            std=1.0,
        )
        return Baseline(rows=4, features=(feature,))

    assert compare(manifest(), manifest(), (baseline(1.0), baseline(1.0))).baseline == ()
    (found,) = compare(manifest(), manifest(), (baseline(1.0), baseline(2.0))).baseline
    assert (found.name, found.a, found.b) == (
        "duration",
        {"rows": 4, "mean": 1.0, "std": 1.0, "missing": 0.25},
        {"rows": 4, "mean": 2.0, "std": 1.0, "missing": 0.25},
    )
    (lost,) = compare(manifest(), manifest(), (baseline(1.0), None)).baseline
    assert lost.b is None
