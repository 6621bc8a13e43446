"""The process that quantizes: whatever lies in the folder, it says one sentence and ends."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.registry.quantization import child
from tests.quantized import CLASSES, network, rows, sample

SIGNATURE = Signature(
    inputs=(Feature(name="duration", dtype=DType.FLOAT32), Feature(name="protocol", dtype=DType.STRING)),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
    classes=CLASSES,
)


def folder_with(folder: Path, parquet: bytes, model: bytes | None = None) -> Path:
    (folder / "model.onnx").write_bytes(network().SerializeToString() if model is None else model)
    (folder / "baseline.parquet").write_bytes(parquet)
    (folder / child.SIGNATURE).write_text(SIGNATURE.model_dump_json())
    return folder


def run(folder: Path, memory_bytes: int = 2 << 30, seconds: int = 60) -> tuple[int, dict[str, Any]]:
    """(exit status, what it said)."""
    job = json.dumps([str(folder), "int8", memory_bytes, seconds]) + "\n"
    done = subprocess.run(
        [sys.executable, "-I", str(child.__file__)],
        input=job,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"},
    )
    return done.returncode, json.loads(done.stdout)


def parquet(**columns: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is not readable"),
        (sample()[:-20], "is not readable"),
        (b"PAR1" + bytes(1000) + b"PAR1", "is not readable"),
        (parquet(duration=[{"a": 1}] * 200, protocol=["tcp"] * 200), "does not fit the feature 'duration'"),
        (parquet(duration=["x"] * 200, protocol=["tcp"] * 200), "does not fit the feature 'duration'"),
        (parquet(duration=[1.0] * 99, protocol=["tcp"] * 99), "99 rows with finite answers"),
        (parquet(duration=[float("nan")] * 200, protocol=["tcp"] * 200), "0 rows with finite answers"),
        (parquet(protocol=["tcp"] * 200), "lacks the features duration"),
    ],
)
def test_a_strange_sample_is_one_sentence(tmp_path: Path, data: bytes, says: str) -> None:
    found = child.quantize(folder_with(tmp_path, data), "int8")
    assert says in found["refused"]


def test_labels_of_any_kind_do_no_harm(tmp_path: Path) -> None:
    for label in ([{"a": 1}] * 200, [None] * 200, [b"\xff"] * 200, [1.5] * 200):
        columns = {name: pa.array(values) for name, values in rows(200).items()}
        found = child.quantize(folder_with(tmp_path, parquet(**columns, label=label)), "int8")
        assert found["metric"] == "disagreement"


def test_a_sample_that_unfolds_into_gigabytes_ends_the_child_alone(tmp_path: Path) -> None:
    zeros = np.zeros(10_000_000, np.float32)
    table = pa.table({"duration": zeros, "protocol": pa.DictionaryArray.from_arrays(zeros.astype(np.int8), ["tcp"])})
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, compression="zstd") as writer:
        for _ in range(40):
            writer.write_table(table)
    assert len(sink.getvalue()) < 4 << 20
    status, said = run(folder_with(tmp_path, sink.getvalue()), memory_bytes=1 << 30)
    assert status == 0
    assert "more memory than quantizing may take" in said["refused"]


def test_it_ends_in_order_whatever_it_says(tmp_path: Path) -> None:
    assert run(folder_with(tmp_path, sample()))[0] == 0
    status, said = run(folder_with(tmp_path, sample(), model=b"\x00\x01"))
    assert (status, "cannot make int8 of it" in said["refused"]) == (0, True)
