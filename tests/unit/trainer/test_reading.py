"""Files and folders become one table of canonical columns, or a sentence that names the field and the file."""

import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from services.kernel.errors import InvalidInput
from services.trainer.reading import read_rows

CSV = "size,kind,open,label\n1,tcp,true,a\n,udp,,b\n2.5,,false,a\ninf,tcp,true,b\n"
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"csv": bytes, "xz": lzma.compress, "gz": gzip.compress}


def _nowhere(reference: str) -> Path:
    raise AssertionError(reference)


def _read(path: Path) -> pa.Table:
    return read_rows(str(path), "datasetConfig.trainPath", _nowhere)


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.xz", "rows.csv.gz"])
def test_csv_plain_and_compressed(tmp_path: Path, name: str) -> None:
    compress = COMPRESS[name.rsplit(".", 1)[1]]
    (tmp_path / name).write_bytes(compress(CSV.encode()))
    assert _read(tmp_path / name).to_pydict() == {
        "size": [1.0, None, 2.5, None],
        "kind": ["tcp", "udp", None, "tcp"],
        "open": [True, None, False, True],
        "label": ["a", "b", "a", "b"],
    }


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.json"])
def test_json_lines_and_array(tmp_path: Path, name: str) -> None:
    rows = [{"size": 1, "kind": "tcp"}, {"size": None, "kind": "udp"}]
    text = json.dumps(rows) if name.endswith(".json") else "\n".join(map(json.dumps, rows))
    (tmp_path / name).write_text(text)
    assert _read(tmp_path / name).to_pydict() == {"size": [1.0, None], "kind": ["tcp", "udp"]}


def test_parquet_with_dictionary_integers_and_float32(tmp_path: Path) -> None:
    table = pa.table(
        {
            "kind": pa.array(["a", "b"]).dictionary_encode(),
            "n": pa.array([1, 2], pa.int16()),
            "x": pa.array([0.5, None], pa.float32()),
        }
    )
    pa.parquet.write_table(table, tmp_path / "rows.parquet")
    assert _read(tmp_path / "rows.parquet").to_pydict() == {"kind": ["a", "b"], "n": [1.0, 2.0], "x": [0.5, None]}


def test_a_folder_is_all_its_files_in_order_and_a_missing_column_is_null(tmp_path: Path) -> None:
    (tmp_path / "b.csv").write_text("x,y\n3,4\n")
    (tmp_path / "a.csv").write_text("x\n1\n")
    (tmp_path / "notes.txt").write_text("not data")
    (tmp_path / ".hidden.csv").write_text("x\n9\n")
    assert _read(tmp_path).to_pydict() == {"x": [1.0, 3.0], "y": [None, 4.0]}


def test_an_artifact_is_read_from_where_it_was_fetched(tmp_path: Path) -> None:
    (tmp_path / "fetched.csv").write_text("x\n1\n")
    table = read_rows("artifact:datasets/abc.csv", "f", lambda reference: tmp_path / "fetched.csv")
    assert table.to_pydict() == {"x": [1.0]}


@pytest.mark.parametrize(
    ("files", "reference", "says"),
    [
        ({}, "rows.csv", "rows.csv does not exist"),
        ({"rows.txt": "x"}, "rows.txt", "is not one of .csv"),
        ({}, ".", "holds no file of .csv"),
        ({"rows.csv": "x,y\n1\n"}, "rows.csv", "rows.csv can't be read: CSV parse error"),
        ({"rows.csv": "x,y\n"}, "rows.csv", "holds no rows"),
        ({"rows.csv": ""}, "rows.csv", "rows.csv can't be read"),
        ({"rows.csv.xz": "not xz"}, "rows.csv.xz", "rows.csv.xz can't be read"),
        ({"rows.csv": "x,x\n1,2\n"}, "rows.csv", "columns of the same name: x"),
        ({"rows.jsonl": '{"x": [1, 2]}\n'}, "rows.jsonl", "column 'x' of rows.jsonl holds list"),
        ({"a.csv": "x\n1\n", "b.csv": "x\ntcp\n"}, ".", "column 'x' holds double values in a.csv but string values"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, files: dict[str, str], reference: str, says: str) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InvalidInput) as raised:
        _read(tmp_path / reference)
    assert says in raised.value.detail
    assert raised.value.detail.startswith("datasetConfig.trainPath: ")


@pytest.mark.parametrize("reference", ["s3://bucket/x.csv", "file:/etc/passwd", "a\0b.csv"])
def test_only_paths_are_read(reference: str) -> None:
    with pytest.raises(InvalidInput, match="is not a path"):
        read_rows(reference, "f", _nowhere)
