"""ONNX graphs and their signatures."""

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.errors import IntegrityFailed
from services.serving.loader import warm
from services.serving.outputs import OutputReader
from services.serving.runtime import RuntimeFailed
from services.serving.runtime.onnx import OnnxOptions, OnnxRuntime
from tests.serving_models import TABLE, VECTOR, table_model, vector_model


def test_a_graph_runs_and_can_be_warmed(tmp_path: Path) -> None:
    runtime = OnnxRuntime(table_model(tmp_path / "m.onnx"), TABLE, OnnxOptions(memory_arena=True))
    assert [rows for rows, _ in warm(runtime, TABLE)] == [1, 8, 64]
    runtime.close()


def test_a_file_that_is_no_graph(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x08\x09nothing")
    with pytest.raises(IntegrityFailed, match=r"m\.onnx"):
        OnnxRuntime(tmp_path / "m.onnx", VECTOR)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"inputs": (Feature(name="y", dtype=DType.FLOAT32, shape=(4,)),)}, "x, y"),
        ({"inputs": (Feature(name="x", dtype=DType.INT64, shape=(4,)),)}, "int64"),
        ({"inputs": (Feature(name="x", dtype=DType.FLOAT32, shape=(2, 2)),)}, "shape"),
        ({"outputs": (Output(name="z2", dtype=DType.FLOAT32),)}, "z2"),
    ],
)
def test_a_signature_that_contradicts_the_graph(tmp_path: Path, change: dict[str, object], says: str) -> None:
    path = vector_model(tmp_path / "m.onnx")
    with pytest.raises(IntegrityFailed, match=says):
        OnnxRuntime(path, VECTOR.model_copy(update=change))


def test_an_error_of_the_graph_is_ours(tmp_path: Path) -> None:
    runtime = OnnxRuntime(vector_model(tmp_path / "m.onnx"), VECTOR)
    with pytest.raises(RuntimeFailed):
        runtime.run({"x": np.zeros((1, 5), dtype=np.float32)}, 1)
    with pytest.raises(RuntimeFailed, match="one entry a row"):
        runtime.run({"x": np.zeros((2, 4), dtype=np.float32)}, 1)


def test_a_fixed_batch_axis_of_one_is_served_row_by_row(tmp_path: Path) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph([node], "g", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    signature = VECTOR.model_copy(
        update={"outputs": (Output(name="y", dtype=DType.FLOAT32, shape=(4,)),), "classes": None}
    )
    runtime = OnnxRuntime(tmp_path / "m.onnx", signature)
    assert runtime.max_rows == 1


@pytest.mark.parametrize(
    ("labels", "codes"),
    [
        (np.array(["dos", "normal"], dtype=object), [1, 0]),
        (np.array([2, 0], dtype=np.int64), [2, 0]),
    ],
)
def test_labels_are_classes_or_their_numbers(
    labels: np.ndarray[tuple[int], np.dtype[np.object_]], codes: list[int]
) -> None:
    signature = Signature(
        inputs=VECTOR.inputs,
        outputs=(Output(name="label", dtype=DType.STRING, role=OutputRole.LABEL),),
        classes=VECTOR.classes,
    )
    meaning = OutputReader(signature).read([labels])
    assert meaning.codes is not None
    assert meaning.codes.tolist() == codes
    with pytest.raises(RuntimeFailed, match="none of its classes"):
        OutputReader(signature).read([np.array(["unheard of"], dtype=object)])
