"""A log in a folder, and a bundle as the registry's archive would give it."""

import hashlib
import json
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from schemas.features import DType, Feature, Output, Signature
from services.kernel.artifacts import build_manifest
from tests.graphs import finish, save
from tests.serving_models import TABLE, table_model
from trimtab.edge.bundling import write_bundle
from trimtab.edge.runner.segments import Life

IDENTITY = Life("", "threats", "1.0.0", "a" * 64, "b" * 64, "gate-7", "m1")


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    """The folder of a log that does not exist yet."""
    return tmp_path / "log"


def archive_of(folder: Path, model_id: str, signature: Signature, build: Callable[[Path], Path]) -> Path:
    """What the registry's export of a version writes."""
    directory = folder / "version"
    directory.mkdir(parents=True)
    build(directory / "model.onnx")
    manifest = build_manifest(directory, model_id=model_id, framework="onnx", signature=signature)
    data = manifest.to_bytes()
    record = {
        "model_id": model_id,
        "version": "1.0.0",
        "manifest_digest": hashlib.sha256(data).hexdigest(),
        "registered_at": datetime(2026, 1, 31, tzinfo=UTC).isoformat(),
    }
    members = {
        "record.json": json.dumps(record).encode(),
        "model/manifest.json": data,
        "model/model.onnx": (directory / "model.onnx").read_bytes(),
    }
    path = folder / "version.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
    return path


def unpacked(archive: Path, folder: Path) -> Path:
    """The folder of the bundle that is made of `archive`."""
    path = folder / "bundle.zip"
    with path.open("wb") as file:
        write_bundle(archive, file)
    with ZipFile(path) as bundle:
        bundle.extractall(folder / "unpacked")  # noqa: S202
    (made,) = (folder / "unpacked").iterdir()
    return made


@pytest.fixture
def bundle_dir(tmp_path: Path) -> Path:
    """An unpacked bundle of the table model."""
    return unpacked(archive_of(tmp_path / "made", "threats", TABLE, table_model), tmp_path)


BRITTLE = Signature(
    inputs=(Feature(name="a", dtype=DType.FLOAT32),), outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(1,)),)
)


def brittle_model(path: Path) -> Path:
    """7 for 0; for any other number the graph raises when it is run."""
    table = numpy_helper.from_array(np.array([7.0], dtype=np.float32), "table")
    nodes = [
        helper.make_node("Cast", ["a"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "index"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("a", TensorProto.FLOAT, ["batch", 1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])]
    return save(finish(helper.make_graph(nodes, "brittle", inputs, outputs, [table])), path)


@pytest.fixture
def brittle_dir(tmp_path: Path) -> Path:
    """An unpacked bundle of a model that raises."""
    return unpacked(archive_of(tmp_path / "made", "brittle", BRITTLE, brittle_model), tmp_path)
