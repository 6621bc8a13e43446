"""A champion that the challenger can't be compared with is named."""

from pathlib import Path

import pyarrow as pa
import pytest

from services.kernel.artifacts import build_manifest
from services.kernel.errors import InvalidInput
from services.trainer.judge import champion_labels
from tests.serving_models import NUMBER


def test_a_champion_without_a_graph_is_no_defect(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    manifest = build_manifest(
        tmp_path, model_id="m", framework="tensorflow", signature=NUMBER, model_files=("saved_model.pb",)
    )
    with pytest.raises(InvalidInput, match=r"no model\.onnx: a SavedModel is not compared"):
        champion_labels(tmp_path, manifest, pa.table({"a": [1.0], "b": [2.0]}))
