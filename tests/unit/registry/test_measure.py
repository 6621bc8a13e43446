"""What the loss of a smaller graph is measured in."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pytest
from onnx import TensorProto, helper, numpy_helper

from schemas.baseline_sample import read_baseline_sample, write_baseline_sample
from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.registry.quantization.measure import Unmeasurable, feed_of, measure
from tests.graphs import finish

CLASSES = ("a", "b")
PAIR = Signature(
    inputs=(Feature(name="x", dtype=DType.FLOAT32, shape=(2,)),),
    outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
    classes=CLASSES,
)
NUMBER = Signature(
    inputs=(Feature(name="x", dtype=DType.FLOAT32, shape=(2,)),),
    outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.VALUE),),
)
X = np.array([[1, 0], [0, 1], [3, 2], [2, 3]], np.float32)


def times(path: Path, matrix: Any) -> Path:
    """x -> x @ matrix."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(np.array(matrix, np.float32), "w")],
    )
    onnx.save(finish(graph), path)
    return path


def sample(**more: Any) -> pa.Table:
    return read_baseline_sample(write_baseline_sample({"x": X, **more}))


def measured(folder: Path, matrix: Any, signature: Signature, **more: Any) -> dict[str, Any]:
    own, other = times(folder / "own.onnx", np.eye(2)), times(folder / "other.onnx", matrix)
    return measure(own, other, signature, sample(**more), least_rows=4)


def test_without_the_truth_it_is_the_share_of_rows_with_another_class(tmp_path: Path) -> None:
    found = measured(tmp_path, [[1, 0.9], [0, 0.2]], PAIR)
    assert (found["metric"], found["rows"], found["loss"]) == ("disagreement", 4, 0.25)
    assert found["max_difference"] == pytest.approx(1.1)
    assert found["bytes_before"] == (tmp_path / "own.onnx").stat().st_size
    assert found["seconds_after"] > 0


def test_with_the_truth_it_is_the_drop_of_accuracy(tmp_path: Path) -> None:
    mirrored = [[0, 1], [1, 0]]
    found = measured(tmp_path, mirrored, PAIR, label=np.array(["a", "b", "b", None], dtype=object))
    assert (found["metric"], found["loss"]) == ("accuracy", pytest.approx(2 / 3 - 1 / 3))
    better = measured(tmp_path, mirrored, PAIR, label=np.array(["b", "a", "b", "a"], dtype=object))
    assert better["loss"] == -1.0
    strange = measured(tmp_path, mirrored, PAIR, label=np.array(["?", "?", "?", "?"], dtype=object))
    assert (strange["metric"], strange["loss"]) == ("disagreement", 1.0)


def test_numbers_are_compared_as_numbers(tmp_path: Path) -> None:
    found = measured(tmp_path, np.eye(2) * 1.1, NUMBER)
    assert found["metric"] == "relative-error"
    assert found["loss"] == pytest.approx(0.1, rel=1e-4)


def test_answers_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Unmeasurable, match="4 of 4 rows get answers that are no finite numbers"):
        measured(tmp_path, [[np.inf, 0], [0, 1]], NUMBER)


def test_rows_without_a_finite_answer_say_nothing(tmp_path: Path) -> None:
    own, other = times(tmp_path / "own.onnx", np.eye(2)), times(tmp_path / "other.onnx", [[1, 0.9], [0, 0.2]])
    rows = np.concatenate([np.full((3, 2), np.nan, np.float32), X])
    found = measure(own, other, PAIR, read_baseline_sample(write_baseline_sample({"x": rows})), least_rows=4)
    assert (found["rows"], found["loss"]) == (4, 0.25)


def test_a_sample_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    own = times(tmp_path / "own.onnx", np.eye(2))
    with pytest.raises(Unmeasurable, match="lacks the features x"):
        measure(own, own, PAIR, pa.table({"z": [1.0]}))
    with pytest.raises(Unmeasurable, match="has 4 rows with finite answers; the loss is measured on 100 or more"):
        measure(own, own, PAIR, sample())
    with pytest.raises(Unmeasurable, match=r"no \[2\] a row in 'x'"):
        measure(own, own, PAIR, pa.table({"x": [1.0, 2.0]}))


def test_missing_values_are_what_the_signature_says() -> None:
    signature = Signature(
        inputs=(
            Feature(name="n", dtype=DType.FLOAT32, nullable=True),
            Feature(name="i", dtype=DType.INT64, nullable=True, filler=-1),
            Feature(name="s", dtype=DType.STRING, nullable=True, filler="?"),
        ),
        outputs=NUMBER.outputs,
    )
    table = pa.table({"n": [1.0, None], "i": [None, 3], "s": ["tcp", None]})
    fed = feed_of(table, signature, {"n": 2, "i": 1, "s": 2})
    assert fed["n"].shape == (2, 1)
    assert np.isnan(fed["n"][1, 0])
    assert fed["i"].tolist() == [-1, 3]
    assert fed["s"].tolist() == [["tcp"], ["?"]]
    with pytest.raises(Unmeasurable, match="does not fit the feature 'n'"):
        feed_of(pa.table({"n": ["x"], "i": [1], "s": ["a"]}), signature, {"n": 2, "i": 2, "s": 2})
