"""SavedModels on the client: a graph where they convert, as they are where not."""

import json
from pathlib import Path

import numpy as np
import pytest

from schemas.manifest import MODEL_NAME
from services.kernel.errors import InvalidInput
from services.serving.runtime.onnx import OnnxRuntime
from tests.serving_models import VECTOR
from trimtab.conversion.saved_model import convert_saved_model

pytestmark = pytest.mark.timeout(300)  # processes with TensorFlow, which take seconds to start


def test_one_that_converts_becomes_a_graph_with_its_own_answers(saved: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in (saved / "vector").rglob("*"):
        if path.is_file():
            (source / path.relative_to(saved / "vector")).parent.mkdir(exist_ok=True)
            (source / path.relative_to(saved / "vector")).write_bytes(path.read_bytes())
    (source / "readme.md").write_text("about it", encoding="utf-8")
    with convert_saved_model(source, {"model_id": "m", "tags": {"team": "net"}}, classes=("a", "b", "c")) as made:
        folder, metadata = made
        assert sorted(path.name for path in folder.iterdir()) == [MODEL_NAME, "readme.md"]
        runtime = OnnxRuntime(folder / MODEL_NAME, VECTOR)
        x = np.array([[0, 1, 2, 3]], np.float32)
        powers = np.exp(x[:, :3])
        np.testing.assert_allclose(runtime.run({"x": x}, 1)[0], powers / powers.sum(), rtol=1e-5)
    assert not folder.exists()
    assert metadata["tags"].pop("framework_version")
    assert metadata == {
        "model_id": "m",
        "framework": "tensorflow",
        "classes": ["a", "b", "c"],
        "tags": {"team": "net", "onnx": "converted from a SavedModel"},
    }


def test_one_that_does_not_convert_is_kept_and_says_why(saved: Path) -> None:
    with convert_saved_model(saved / "every", {"model_id": "m"}) as (folder, metadata):
        assert folder == saved / "every"
        assert metadata["tags"]["onnx"].startswith("not converted: tf2onnx can't convert it: ")
        assert json.dumps(metadata)


def test_one_that_no_registry_takes_is_refused_before_it_is_sent(hostile: Path) -> None:
    with pytest.raises(InvalidInput, match="operator 'PyFunc'"), convert_saved_model(hostile / "PyFunc", {}):
        pass
