"""Versions with a baseline sample, in a local artifact store, for the tests of explanations."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from schemas.baseline_sample import write_baseline_sample
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.manifest import BASELINE_SAMPLE_NAME
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.storage import open_store
from services.serving.model import VersionRef
from services.serving.settings import ServingSettings
from tests.serving_models import NUMBER, TABLE, VECTOR, number_model, table_model, vector_model, write_graph

ROWS = 400

LABELS = Signature(
    inputs=(Feature(name="a", dtype=DType.FLOAT32), Feature(name="b", dtype=DType.FLOAT32)),
    outputs=(Output(name="label", dtype=DType.INT64, role=OutputRole.LABEL),),
    classes=("low", "high"),
)
"""A classifier that tells the class and no probabilities."""


def label_model(path: Path) -> Path:
    """1 where a is above 0; b has no effect."""
    nodes = [
        helper.make_node("Greater", ["a", "zero"], ["above"]),
        helper.make_node("Cast", ["above"], ["label"], to=TensorProto.INT64),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("a", "b")]
    outputs = [helper.make_tensor_value_info("label", TensorProto.INT64, [None, 1])]
    return write_graph(path, nodes, inputs, outputs, [numpy_helper.from_array(np.zeros((1, 1), np.float32), "zero")])


def nan_model(path: Path) -> Path:
    """The logarithm of a + b, which is NaN for most mixtures."""
    nodes = [helper.make_node("Add", ["a", "b"], ["both"]), helper.make_node("Log", ["both"], ["sum"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("a", "b")]
    return write_graph(path, nodes, inputs, [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])], [])


def table_rows(rows: int = ROWS, seed: int = 1) -> dict[str, Any]:
    """A baseline of `serving_models.TABLE`, with missing values."""
    random = np.random.default_rng(seed)
    return {
        "duration": random.normal(size=rows).astype(np.float32),
        "service": random.choice(["http", "smtp", "ftp"], rows),
        "count": random.integers(0, 3, rows),
        "src-bytes": np.where(random.random(rows) < 0.3, np.nan, random.normal(size=rows)),
        "label": random.choice(["normal", "dos"], rows),
    }


def number_rows(rows: int = ROWS, seed: int = 2) -> dict[str, Any]:
    """A baseline of two numbers."""
    random = np.random.default_rng(seed)
    return {name: random.normal(size=rows).astype(np.float32) for name in ("a", "b")}


def vector_rows(rows: int = ROWS, seed: int = 3) -> dict[str, Any]:
    """A baseline of one tensor of four."""
    return {"x": np.random.default_rng(seed).normal(size=(rows, 4)).astype(np.float32)}


KINDS: dict[str, tuple[Signature, Callable[[Path], Path], Callable[[], dict[str, Any]]]] = {
    "table": (TABLE, table_model, table_rows),
    "number": (NUMBER, number_model, number_rows),
    "vector": (VECTOR, vector_model, vector_rows),
    "labels": (LABELS, label_model, number_rows),
    "nan": (NUMBER, nan_model, number_rows),
}


def publish(
    settings: ServingSettings, kind: str, version: str = "1.0.0", sample: Mapping[str, Any] | bool = True
) -> VersionRef:
    """Store a version of the model `kind`; `sample` False: without a baseline sample."""
    signature, build, rows = KINDS[kind]
    directory = settings.data_dir / "made" / f"{kind}-{version}"
    directory.mkdir(parents=True)
    build(directory / "model.onnx")
    if sample is not False:
        columns = rows() if sample is True else sample
        (directory / BASELINE_SAMPLE_NAME).write_bytes(write_baseline_sample(columns))
    manifest = build_manifest(
        directory, model_id=kind, framework="onnx", signature=signature, description=f"version {version}"
    )
    write_manifest(directory, manifest)
    artifact = f"models/{kind}/{version}"
    return VersionRef(kind, version, artifact, store_version(open_store(settings), directory, artifact))
