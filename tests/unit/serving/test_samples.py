"""Rows to try a version with."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from schemas.baseline_sample import write_baseline_sample
from services.serving.model import sample_row
from services.serving.samples import sample_rows
from tests.serving_models import TABLE, VECTOR


def test_rows_are_real_ones_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "baseline.parquet"
    columns = {
        "duration": np.array([1.5, 2.5], dtype=np.float32),
        "service": np.array(["http", "smtp"], dtype=object),
        "count": np.array([7, 8]),
        "src-bytes": np.array([1.0, np.nan], dtype=np.float32),
        "label": np.array(["dos", "normal"], dtype=object),
    }
    path.write_bytes(write_baseline_sample(columns))
    rows = sample_rows(TABLE, path, 3)
    assert [row[:3] for row in rows] == [(1.5, "http", 7), (2.5, "smtp", 8), (1.5, "http", 7)]
    assert rows[0][3] == 1.0
    assert str(rows[1][3]) == "nan"


def test_rows_of_tensors_are_real_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "baseline.parquet"
    path.write_bytes(write_baseline_sample({"x": np.arange(8, dtype=np.float32).reshape(2, 4)}))
    [row] = sample_rows(VECTOR, path, 1)
    np.testing.assert_array_equal(np.asarray(row[0]), [0, 1, 2, 3])


@pytest.mark.parametrize("data", [b"", b"PAR1 not parquet", write_baseline_sample({"other": np.array([1.0])})])
def test_what_can_not_be_read_is_passed_over(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "baseline.parquet"
    path.write_bytes(data)
    rows = sample_rows(TABLE, path, 2)
    assert rows == [sample_row(TABLE)] * 2


NOT_UTF8 = pa.StringArray.from_buffers(
    1, pa.py_buffer(np.array([0, 2], dtype=np.int32).tobytes()), pa.py_buffer(b"\xff\xfe")
)


@pytest.mark.parametrize("column", [NOT_UTF8, pa.array([2**62], pa.timestamp("us")), pa.array([2**30], pa.date32())])
def test_values_that_python_does_not_have_are_passed_over(tmp_path: Path, column: pa.Array) -> None:
    path = tmp_path / "baseline.parquet"
    path.write_bytes(write_baseline_sample({"service": column}))
    assert sample_rows(TABLE, path, 1) == [sample_row(TABLE)]


def test_without_a_file_the_signature_makes_them() -> None:
    assert sample_rows(TABLE, None, 1) == [sample_row(TABLE)]


def test_redacted_values_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "baseline.parquet"
    columns = {
        "duration": np.array(["5a3f"], dtype=object),
        "service": np.array(["http"], dtype=object),
        "count": np.array([7]),
        "src-bytes": np.array([1.0], dtype=np.float32),
    }
    path.write_bytes(write_baseline_sample(columns))
    assert sample_rows(TABLE, path, 1) == [sample_row(TABLE)]
