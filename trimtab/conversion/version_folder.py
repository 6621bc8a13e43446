"""The folder of one version, made from a fitted model and a sample: graph, baseline, metadata."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from schemas.baseline import build_baseline
from schemas.baseline_sample import write_baseline_sample
from schemas.features import OutputRole, Signature
from schemas.manifest import BASELINE_NAME, BASELINE_SAMPLE_NAME, MODEL_NAME
from trimtab.conversion.class_names import class_codes
from trimtab.conversion.errors import Different, NotConvertible
from trimtab.conversion.families import subject_of
from trimtab.conversion.joining import joined, used_features
from trimtab.conversion.proof import ServedGraph, compare
from trimtab.conversion.sample import Sample, read_sample
from trimtab.conversion.signature import infer_signature
from trimtab.conversion.subject import Answers, Subject

PROVED_ROWS = 2_000
"""Rows of the sample that the model and its graph both answer; and as many again, crossed from its columns."""

LABEL = "label"
"""The column of the truth in `baseline.parquet`."""


@dataclass(frozen=True)
class Converted:
    """A graph that was proved, its signature, the sample in its types, and what it says to it."""

    graph: bytes
    signature: Signature
    sample: Sample
    answers: Answers


@contextmanager
def convert(
    model: Any,
    sample: Any,
    *,
    labels: Any = None,
    classes: Sequence[Any] | None = None,
    feature_names: Sequence[str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Iterator[tuple[Path, dict[str, Any]]]:
    """A folder with `model.onnx`, `baseline.json` and `baseline.parquet`, and the metadata to register it with.

    `metadata` is the caller's and goes before what is found out here. The folder is gone when the context ends.
    Raises `NotConvertible` and `Misconfigured`.
    """
    subject = subject_of(model, classes)
    rows = _fitting(read_sample(sample, feature_names, subject.feature_names), subject)
    truth = None if labels is None else _truth(labels, rows, subject)
    made = converted(subject, rows)
    with tempfile.TemporaryDirectory(prefix="trimtab-convert-") as name:
        folder = Path(name)
        (folder / MODEL_NAME).write_bytes(made.graph)
        metrics = _write_baseline(folder, made, truth)
        about = subject.about
        found = {
            "framework": about.framework,
            "hyperparameters": dict(about.hyperparameters),
            "metrics": metrics,
            "tags": {"framework_version": about.framework_version},
            "signature": made.signature.model_dump(mode="json"),
        }
        yield folder, {**found, **(metadata or {}), **_merged(found, metadata or {})}


def _merged(found: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Members that hold names and values, of both; the caller's go before ours."""
    return {name: {**found[name], **given.get(name, {})} for name in ("metrics", "hyperparameters", "tags")}


def converted(subject: Subject, sample: Sample) -> Converted:
    """The first of the subject's graphs that answers as the subject does. Raises `NotConvertible`."""
    proofs = [sample.head(PROVED_ROWS)]
    crossed = proofs[0].crossed()
    expected = [subject.answers(proofs[0])]
    if crossed is not None:
        proofs.append(crossed)
        expected.append(subject.answers(crossed))
    problem: NotConvertible | None = None
    for draft in subject.drafts(proofs[0]):
        role = OutputRole.VALUE
        if subject.classes is not None:
            certain = draft.outputs.probabilities is not None and all(e.probabilities is not None for e in expected)
            role = OutputRole.PROBABILITIES if certain else OutputRole.LABEL
        shown = sample if draft.wide else sample.narrowed()
        try:
            signature = infer_signature(shown, used_features(draft), role, subject.classes, draft.filler)
            graph = joined(draft, signature)
            served = ServedGraph(graph, signature)
            for own, rows in zip(expected, proofs, strict=True):
                compare(own, served.answers(rows if draft.wide else rows.narrowed()))
            return Converted(graph, signature, shown, served.answers(shown))
        except NotConvertible as error:
            problem = error
    if isinstance(problem, Different):
        raise Different(
            f"{problem.detail}. Nothing was registered: update skl2onnx and onnxmltools, fit the model on float32 "
            "columns, or register an ONNX file of your own making"
        ) from problem
    raise problem or NotConvertible("the converter made no graph")


def _fitting(sample: Sample, subject: Subject) -> Sample:
    return sample if subject.feature_names is None else sample.only(subject.feature_names)


def _truth(labels: Any, sample: Sample, subject: Subject) -> Any:
    """The truth by row: codes of a classifier's classes, numbers for regression. Raises `NotConvertible`."""
    known = np.asarray(labels)
    if known.ndim != 1 or len(known) != sample.rows:
        raise NotConvertible(f"labels has shape {list(known.shape)}: give one label for each of the {sample.rows} rows")
    if subject.classes is None:
        try:
            return known.astype(np.float64)
        except ValueError as error:
            raise NotConvertible("the labels of a regression model must be numbers") from error
    try:
        return class_codes(known.tolist(), subject.classes)
    except NotConvertible:
        if subject.own_classes in (None, subject.classes):
            raise
        return class_codes(known.tolist(), subject.own_classes or ())


def _write_baseline(folder: Path, made: Converted, truth: Any) -> dict[str, float]:
    """Write `baseline.json` and `baseline.parquet` from the sample and the graph's answers; returns the metrics."""
    answers, signature = made.answers, made.signature
    columns = {feature.name: made.sample.column(feature.name).arrow() for feature in signature.inputs}
    predictions: Any = answers.values
    scores = None
    named = truth
    metrics: dict[str, float] = {}
    if signature.classes is not None:
        names = np.array(signature.classes, dtype=object)
        predictions = names[answers.codes]
        scores = None if answers.probabilities is None else answers.probabilities.max(axis=1)
        if truth is not None:
            named = names[truth]
            metrics = {"accuracy": float((truth == answers.codes).mean())}
    elif truth is not None:
        error = predictions - truth
        metrics = {"mae": float(np.abs(error).mean()), "rmse": float(np.sqrt((error**2).mean()))}
    baseline = build_baseline(
        columns,
        signature,
        predictions=predictions,
        scores=scores,
        metrics=metrics,
        metrics_rows=None if truth is None else made.sample.rows,
    )
    (folder / BASELINE_NAME).write_bytes(baseline.to_bytes())
    kept = {**columns, **({LABEL: named} if named is not None and LABEL not in columns else {})}
    (folder / BASELINE_SAMPLE_NAME).write_bytes(write_baseline_sample(kept))
    return metrics
