"""What a trained model is worth: its metrics, its comparison with the champion, and its drift baseline."""

import os
from pathlib import Path

import numpy as np
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray

from schemas.baseline import build_baseline
from schemas.baseline_sample import write_baseline_sample
from schemas.events import Comparison
from schemas.features import OutputRole, Signature
from schemas.manifest import BASELINE_NAME, BASELINE_SAMPLE_NAME, MANIFEST_NAME, MODEL_NAME, Manifest
from services.kernel.artifacts import read_manifest
from services.kernel.errors import InvalidInput
from services.trainer import datasets, evaluation, graph
from services.trainer.datasets import TrainingData
from services.trainer.encoding import Matrix
from services.trainer.labelled import LabelledRows
from services.trainer.workspace import Champion

REFERENCE_ROWS = 500
"""A held-out data set with fewer rows is too small to be the baseline of the new model."""


class Judge:
    """Measures the exported graph itself, not the network, on rows that it was not trained on."""

    def __init__(self, model: bytes, data: TrainingData) -> None:
        self.data = data
        self.session = graph.session(model, threads=os.cpu_count() or 1)

    def metrics(self) -> dict[str, float]:
        """Figures of the validation rows; of test and held-out rows with a prefix."""
        metrics = self._measured(self.data.validation)
        for prefix, rows in (("test", self.data.test), ("holdout", self.data.holdout)):
            if rows is not None:
                metrics |= {f"{prefix}_{name}": value for name, value in self._measured(rows).items()}
        return metrics

    def comparison(self, champion: Champion) -> Comparison | None:
        """Challenger against champion on the held-out rows; None when there are none."""
        holdout = self.data.holdout
        if holdout is None:
            return None
        manifest = read_manifest((champion.directory / MANIFEST_NAME).read_bytes())
        return evaluation.compare(
            champion_labels(champion.directory, manifest, holdout.features),
            self._labels(holdout.features, self.data.signature)[0],
            np.array(holdout.labels.to_pylist()),
            champion_version=champion.version,
            dataset_digest=holdout.digest,
        )

    def write_baseline(self, version: Path, metrics: dict[str, float]) -> list[str]:
        """`baseline.json` and `baseline.parquet`: of the rows whose traffic the model is meant for."""
        reference, judged, prefix, notes = self.data.training, self.data.validation, "", []
        newest = self.data.newest
        if newest is not None and self.data.holdout is not None and newest.rows >= REFERENCE_ROWS:
            reference, judged, prefix = newest, self.data.holdout, "holdout_"
            notes = [f"The drift baseline is the {newest.rows} rows of the newest data, which the model was made for."]
        predicted, scores = self._labels(judged.features, self.data.signature)
        names = ("accuracy", "precision", "recall", "f1Score")
        baseline = build_baseline(
            _columns(reference.features, self.data.signature),
            self.data.signature,
            predictions=predicted,
            scores=scores,
            labels=judged.labels,
            metrics={name: metrics[prefix + name] for name in names},
            metrics_rows=judged.rows,
        )
        (version / BASELINE_NAME).write_bytes(baseline.to_bytes())
        sample = _columns(reference.features, self.data.signature)
        if datasets.DEFAULT_LABEL not in sample:
            sample[datasets.DEFAULT_LABEL] = reference.labels
        (version / BASELINE_SAMPLE_NAME).write_bytes(write_baseline_sample(sample))
        return notes

    def _measured(self, rows: LabelledRows) -> dict[str, float]:
        answered = graph.probabilities(self.session, rows.features, self.data.signature)
        return evaluation.classification_metrics(answered, rows.class_indices(self.data.classes))

    def _labels(self, features: pa.Table, signature: Signature) -> tuple[NDArray[np.str_], Matrix]:
        return _predicted(self.session, features, signature)


def champion_labels(directory: Path, manifest: Manifest, features: pa.Table) -> NDArray[np.str_]:
    """The class names that the champion in the verified `directory` predicts. Raises `InvalidInput` when it has no
    graph or no class probabilities, or takes a feature that the rows lack."""
    signature = manifest.signature
    lacking = [feature.name for feature in signature.inputs if feature.name not in features.column_names]
    if lacking or not signature.is_tabular:
        raise InvalidInput(
            f"holdout.championArtifact: the champion's inputs {', '.join(lacking)} are not in holdout.path"
        )
    if not (directory / MODEL_NAME).exists():
        raise InvalidInput(f"holdout.championArtifact: the champion has no {MODEL_NAME}: a SavedModel is not compared")
    loaded = graph.session((directory / MODEL_NAME).read_bytes(), threads=os.cpu_count() or 1)
    return _predicted(loaded, features, signature)[0]


def _predicted(
    loaded: onnxruntime.InferenceSession, features: pa.Table, signature: Signature
) -> tuple[NDArray[np.str_], Matrix]:
    output = signature.output(OutputRole.PROBABILITIES)
    if signature.classes is None or output is None:
        raise InvalidInput("holdout.championArtifact: the champion does not answer with class probabilities")
    answered = graph.probabilities(loaded, features, signature, output.name)
    return np.array(signature.classes)[answered.argmax(axis=1)], answered.max(axis=1)


def _columns(features: pa.Table, signature: Signature) -> dict[str, pa.ChunkedArray]:
    """The raw columns in the signature's types, as the prediction log will hold them."""
    types = {"float32": pa.float32(), "string": pa.string(), "bool": pa.bool_()}
    return {f.name: features.column(f.name).cast(types[f.dtype.value]) for f in signature.inputs}
