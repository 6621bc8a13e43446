"""A job's rows: labels, splits, held-out rows, signature, digest."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.features import DType
from schemas.jobs import TrainingJob
from schemas.predictions import with_redacted
from services.kernel.errors import InvalidInput
from services.trainer.datasets import TrainingData, load
from services.trainer.splitting import held_out, stratified_split


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = "".join(f"{i},{'tcp' if i % 3 else 'udp'},{'x' if i % 2 else 'y'},{i}\n" for i in range(40))
    (tmp_path / "train.csv").write_text("size,kind,attack,level\n" + rows)
    return tmp_path


def _job(folder: Path, **dataset: Any) -> TrainingJob:
    config = {"trainPath": str(folder / "train.csv"), "labelColumn": "attack", "dropColumns": ["level"]}
    holdout = dataset.pop("holdout", None)
    return TrainingJob.model_validate({"modelType": "m", "datasetConfig": config | dataset, "holdout": holdout})


def _load(job: TrainingJob) -> TrainingData:
    return load(job, lambda reference: Path(reference.removeprefix("artifact:")))


def test_signature_classes_and_split_without_validation_data(folder: Path) -> None:
    data = _load(_job(folder, labelMap={"x": "odd", "y": "even"}))
    assert [(f.name, f.dtype, f.nullable) for f in data.signature.inputs] == [
        ("size", DType.FLOAT32, False),
        ("kind", DType.STRING, False),
    ]
    assert data.signature.inputs[1].categories == ("tcp", "udp")
    assert data.classes == ("even", "odd")
    assert (data.training.rows, data.validation.rows) == (32, 8)
    assert data.validation.labels.to_pylist().count("odd") == 4
    assert "No validation data was given: 8 of 40 training rows" in data.notes[0]


def test_the_digest_is_of_the_content(folder: Path, tmp_path: Path) -> None:
    first = _load(_job(folder))
    table = pa.csv.read_csv(folder / "train.csv").select(["level", "attack", "size", "kind"])
    pa.parquet.write_table(table, tmp_path / "same.parquet")
    assert _load(_job(folder, trainPath=str(tmp_path / "same.parquet"))).digest == first.digest
    (folder / "train.csv").write_text((folder / "train.csv").read_text().replace("0,udp", "0,icmp", 1))
    assert _load(_job(folder)).digest != first.digest


def test_missing_values_make_a_feature_nullable_and_categories_are_bounded(folder: Path) -> None:
    rows = "".join(f"{'' if i == 7 else i},k{i},,{i % 2}\n" for i in range(600))
    (folder / "train.csv").write_text("size,kind,empty,attack\n" + rows)
    data = _load(_job(folder, dropColumns=[], validationFraction=0.1))
    size, kind, empty = data.signature.inputs
    assert (size.nullable, kind.nullable, empty.nullable) == (True, False, True)
    assert empty.dtype is DType.FLOAT32
    assert len(kind.categories or ()) == 256
    assert data.classes == ("0", "1")
    assert any("'kind'" in note and "count as unseen" in note for note in data.notes)
    assert any("'empty' has no value" in note for note in data.notes)


def test_held_out_rows_and_the_rest_join_with_labels_mapped_already(folder: Path) -> None:
    count = 200
    table = pa.table(
        {
            "prediction_id": [f"inc-{i}" for i in range(count)],
            "label": ["odd" if i % 2 else "even" for i in range(count)],
            "size": [float(i) for i in range(count)],
            "kind": ["icmp"] * count,
            "score": [0.5] * count,
        }
    )
    foreign = (
        table.slice(0, 1).set_column(1, "label", pa.array(["martian"])).set_column(0, "prediction_id", pa.array(["m"]))
    )
    pa.parquet.write_table(pa.concat_tables([table, foreign]), folder / "window.parquet")
    wanted = {"path": f"artifact:{folder}/window.parquet", "fraction": 0.3}
    data = _load(_job(folder, labelMap={"x": "odd", "y": "even"}, holdout=wanted))
    assert data.holdout is not None
    assert data.newest is not None
    expected = sum(held_out(f"inc-{i}", 0.3) for i in range(count))
    assert data.holdout.rows == expected
    assert data.training.rows + data.validation.rows == 40 + count - expected
    assert data.newest.rows == count
    assert any("labels that the map lacks: martian; their rows were left out" in note for note in data.notes)
    earlier = _load(_job(folder, labelMap={"x": "odd", "y": "even"}, holdout=wanted, additionalPaths=[wanted["path"]]))
    assert earlier.training.rows + earlier.validation.rows == 40 + 2 * (count - expected)
    assert any(f"{expected} rows of datasetConfig.additionalPaths[0] are held out" in note for note in earlier.notes)
    kept = set(data.holdout.features.column("size").to_pylist())
    assert kept == {float(i) for i in range(count) if held_out(f"inc-{i}", 0.3)}


@pytest.mark.parametrize(
    ("dataset", "field", "says"),
    [
        ({"labelColumn": "nope"}, "datasetConfig.labelColumn", "no column 'nope'"),
        ({"labelColumn": None}, "datasetConfig.labelColumn", "name the column that holds the class"),
        ({"dropColumns": ["ghost"]}, "datasetConfig.dropColumns", "no column ghost"),
        ({"labelMap": {"x": "odd"}}, "datasetConfig.labelMap", "labels that the map lacks: y"),
        ({"labelMap": {"x": "one", "y": "one"}}, "datasetConfig.labelColumn", "only the class 'one'"),
        ({"dropColumns": ["size", "kind", "level"]}, None, "no feature column"),
        ({"validationPath": "{folder}/other.csv"}, "datasetConfig.validationPath", "column 'kind' of the training"),
        ({"holdout": {"path": "{folder}/train.csv"}}, "holdout.idColumn", "no column 'prediction_id'"),
        ({"trainPath": "{folder}/names.csv"}, "datasetConfig.trainPath", "no feature can be called 'probabilities'"),
        ({"trainPath": "{folder}/many.csv"}, "datasetConfig.labelColumn", "1100 different labels"),
    ],
)
def test_what_is_wrong_names_the_field(folder: Path, dataset: dict[str, Any], field: str | None, says: str) -> None:
    (folder / "other.csv").write_text("size,attack\n1,x\n")
    (folder / "names.csv").write_text("probabilities,level,attack\n1,1,x\n2,2,y\n3,3,x\n4,4,y\n")
    (folder / "many.csv").write_text("x,level,attack\n" + "".join(f"{i},1,{i % 1100}\n" for i in range(2200)))
    for name, value in dataset.items():
        if isinstance(value, str):
            dataset[name] = value.format(folder=folder)
        elif isinstance(value, dict) and "path" in value:
            value["path"] = value["path"].format(folder=folder)
    with pytest.raises(InvalidInput) as raised:
        _load(_job(folder, **dataset))
    assert says in raised.value.detail
    assert field is None or raised.value.facts.get("field") == field


@given(
    labels=st.lists(st.sampled_from("abc"), min_size=4, max_size=60).filter(
        lambda labels: any(labels.count(name) > 1 for name in "abc")
    ),
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_stratified_split_is_a_partition_that_leaves_every_class_in_training(
    labels: list[str], fraction: float, seed: int
) -> None:
    training, validation = stratified_split(pa.array(labels), fraction, seed)
    assert sorted([*training, *validation]) == list(range(len(labels)))
    for name in set(labels):
        count, kept = labels.count(name), [labels[i] for i in training].count(name)
        assert kept >= 1
        if count > 1:
            assert abs((count - kept) - np.clip(round(fraction * count), 1, count - 1)) == 0
    again = stratified_split(pa.array(labels), fraction, seed)
    assert np.array_equal(again[0], training)
    assert np.array_equal(again[1], validation)


def test_held_out_rows_are_about_the_fraction_and_grow_with_it() -> None:
    ids = [f"inc-{i}" for i in range(4000)]
    third = {i for i in ids if held_out(i, 0.3)}
    half = {i for i in ids if held_out(i, 0.5)}
    assert third < half
    assert abs(len(third) / len(ids) - 0.3) < 0.03


def _write_redacted(path: Path, columns: dict[str, Any], *redacted: str) -> str:
    table = pa.table(columns)
    pa.parquet.write_table(table.cast(with_redacted(table.schema, redacted)), path)
    return str(path)


def test_redacted_features_of_newly_labelled_rows_are_not_trained_on(folder: Path) -> None:
    columns = {"label": ["x", "y"], "size": [1.0, None], "kind": ["tcp", "udp"], "size#token": [None, "5f"]}
    path = _write_redacted(folder / "window.parquet", columns, "size")
    for job in (
        _job(folder, additionalPaths=[path]),
        _job(folder, testPath=path),
        _job(folder, trainPath=path, labelColumn="label", dropColumns=[]),
    ):
        with pytest.raises(InvalidInput, match="the values of size are redacted in the prediction log"):
            _load(job)


def test_a_redacted_feature_that_is_dropped_or_wholly_absent_is_left_out(folder: Path) -> None:
    labels = ["x", "y"] * 20
    columns = {"label": labels, "kind": ["tcp", "udp"] * 20, "size#token": ["5f"] * 40}
    path = _write_redacted(folder / "window.parquet", columns, "size", "level")
    data = _load(_job(folder, trainPath=path, labelColumn="label", dropColumns=["size#token"]))
    assert [feature.name for feature in data.signature.inputs] == ["kind"]
    assert any("level" in note and "redacted" in note for note in data.notes)
    dropped = _load(_job(folder, dropColumns=["level", "size"], additionalPaths=[path]))
    assert [feature.name for feature in dropped.signature.inputs] == ["kind"]


def test_a_folder_says_what_is_redacted_in_any_of_its_files(folder: Path) -> None:
    whole = folder / "parts"
    whole.mkdir()
    pa.parquet.write_table(pa.table({"label": ["x", "y"], "size": [1.0, 2.0]}), whole / "a.parquet")
    _write_redacted(whole / "b.parquet", {"label": ["x", "y"], "size#token": ["5f", "a0"]}, "size")
    with pytest.raises(InvalidInput, match="size are redacted"):
        _load(_job(folder, trainPath=str(whole), labelColumn="label", dropColumns=[]))
