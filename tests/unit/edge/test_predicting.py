"""Rows in, answers out, everything in the log first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trimtab.edge.runner.backlog import next_load
from trimtab.edge.runner.bundle import open_bundle
from trimtab.edge.runner.errors import EdgeError, InvalidInput, ModelFailed, TooLarge, Unavailable
from trimtab.edge.runner.inputs import RowReader
from trimtab.edge.runner.model import Model
from trimtab.edge.runner.predicting import REQUEST_ROWS, Predictor
from trimtab.edge.runner.predlog import PredictionLog
from trimtab.edge.runner.segments import Document, Life, lives

ROW = {"duration": 0.5, "service": "http", "count": 3, "src-bytes": 1.0}


def predictor(bundle_dir: Path, log_dir: Path, **options: Any) -> Predictor:
    """As `cli` makes one."""
    bundle = open_bundle(bundle_dir)
    life = Life("", bundle.model_id, bundle.version, bundle.manifest_digest, bundle.signature_digest, "r1")
    log = PredictionLog(log_dir, life, **options)
    return Predictor(bundle, Model(bundle.graph, bundle.signature), RowReader(bundle.signature), log)


def logged(log_dir: Path) -> list[Document]:
    (folder,) = lives(log_dir)
    load = next_load(folder, 0, max_rows=10_000, max_bytes=1 << 30)
    return [] if load is None else load.rows


def test_an_answer_says_what_a_servers_answer_says(bundle_dir: Path, log_dir: Path) -> None:
    one = predictor(bundle_dir, log_dir)
    answer = one.predict(ROW)
    assert (answer["prediction"], answer["model_id"], answer["version"]) == ("probe", "threats", "1.0.0")
    assert (answer["route"], answer["cached"], answer["fallback"]) == ("edge", False, False)
    assert set(answer["probabilities"]) == {"normal", "dos", "probe"}
    assert answer["prediction_id"] == f"{one.log.incarnation}-0"
    (row,) = logged(log_dir)
    assert (row["n"], row["input"], row["prediction"]) == (0, ROW, "probe")
    assert row["probabilities"] == list(answer["probabilities"].values())


def test_a_missing_number_is_null_in_the_log(bundle_dir: Path, log_dir: Path) -> None:
    predictor(bundle_dir, log_dir).predict({**ROW, "src-bytes": None})
    assert logged(log_dir)[0]["input"]["src-bytes"] is None


def test_many_rows_have_ids_that_count_up(bundle_dir: Path, log_dir: Path) -> None:
    answers = predictor(bundle_dir, log_dir).predict_many([{**ROW, "count": n} for n in range(600)])
    assert [answer["prediction_id"].rpartition("-")[2] for answer in answers] == [str(n) for n in range(600)]
    assert [row["input"]["count"] for row in logged(log_dir)] == list(range(600))


def test_a_row_that_does_not_fit_refuses_the_request_and_is_counted(bundle_dir: Path, log_dir: Path) -> None:
    one = predictor(bundle_dir, log_dir)
    with pytest.raises(InvalidInput, match=r"inputs\[1\].*'service' is missing"):
        one.predict_many([ROW, {"duration": 1, "count": 2}])
    assert (logged(log_dir), one.counts.refused) == ([], 1)
    with pytest.raises(InvalidInput, match="at least one"):
        one.predict_many([])
    with pytest.raises(TooLarge):
        one.predict_many([ROW] * (REQUEST_ROWS + 1))


def test_rows_on_which_the_model_fails_take_nobody_along(brittle_dir: Path, log_dir: Path) -> None:
    one = predictor(brittle_dir, log_dir)
    found = one.predict_each([{"a": 0}, {"a": 5}, {"b": 1}, {"a": 0}])
    kinds = [type(each) for each in found]
    assert kinds == [dict, ModelFailed, InvalidInput, dict]
    assert [row.get("error") for row in logged(log_dir)] == [None, "model-failed", None]
    assert [row["input"]["a"] for row in logged(log_dir)] == [0, 5, 0]
    assert (one.counts.answered, one.counts.failed, one.counts.refused) == (2, 1, 1)
    with pytest.raises(ModelFailed):
        one.predict({"a": 5})
    assert len(logged(log_dir)) == 4


def test_nothing_is_answered_that_can_not_be_logged(
    bundle_dir: Path, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = predictor(bundle_dir, log_dir)

    def refuse(rows: list[Document]) -> int:
        raise Unavailable("the disk is gone")

    monkeypatch.setattr(one.log, "append", refuse)
    for ask in (one.predict, lambda row: one.predict_each([row])):
        with pytest.raises(EdgeError, match="the disk is gone"):
            ask(ROW)
    assert one.counts.answered == 0


def test_large_tensors_are_logged_as_four_numbers(tmp_path: Path, log_dir: Path) -> None:
    from onnx import TensorProto, helper

    from schemas.features import DType, Feature, Output, Signature
    from tests.graphs import finish, save
    from tests.unit.edge.conftest import archive_of, unpacked

    size = 2000
    signature = Signature(
        inputs=(Feature(name="image", dtype=DType.FLOAT32, shape=(size,)),),
        outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(1,)),),
    )

    def build(path: Path) -> Path:
        node = helper.make_node("ReduceSum", ["image"], ["y"], keepdims=1)
        inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", size])]
        outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])]
        node.input.append("axes")
        axes = helper.make_tensor("axes", TensorProto.INT64, [1], [1])
        return save(finish(helper.make_graph([node], "sum", inputs, outputs, [axes])), path)

    make: Callable[[Path], Path] = build
    bundle_dir = unpacked(archive_of(tmp_path / "made", "images", signature, make), tmp_path)
    answer = predictor(bundle_dir, log_dir).predict({"image": [1.0] * (size - 1) + [3.0]})
    assert answer["prediction"] == size + 2
    summary = logged(log_dir)[0]["input"]["image"]
    assert (summary["min"], summary["max"], summary["mean"]) == (1.0, 3.0, (size + 2) / size)
