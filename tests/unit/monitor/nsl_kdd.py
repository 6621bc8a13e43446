"""NSL-KDD rows as the prediction log would hold them: 41 raw features, three of them strings."""

import csv
import lzma
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from schemas.features import DType, Feature, Output, OutputRole, Signature

STRINGS = ("protocol_type", "service", "flag")
NOT_FEATURES = ("attack", "level")


@cache
def columns(name: str) -> dict[str, list[str] | np.ndarray]:
    """All rows of one file of the data set, by column."""
    path = next(folder / name for folder in _folders() if (folder / name).exists())
    with lzma.open(path, "rt", newline="") as file:
        rows = list(csv.reader(file))
    header, *body = rows
    by_column = dict(zip(header, zip(*body, strict=True), strict=True))
    return {
        name: list(values) if name in STRINGS else np.asarray(values, np.float32)
        for name, values in by_column.items()
        if name not in NOT_FEATURES
    }


def _folders() -> tuple[Path, ...]:
    root = Path(__file__).parents[3]
    return root / "examples/threats/data", root / "examples/threats", root.parent / "shared/data/nsl-kdd"


def signature() -> Signature:
    """The 41 features."""
    return Signature(
        inputs=tuple(
            Feature(name=name, dtype=DType.STRING if name in STRINGS else DType.FLOAT32)
            for name in columns("KDDTest+.csv.xz")
        ),
        outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(2,), role=OutputRole.PROBABILITIES),),
        classes=("normal", "attack"),
    )


def taken(name: str, rows: np.ndarray) -> dict[str, list[str] | np.ndarray]:
    """Some rows, by column."""
    return {
        column: [values[i] for i in rows] if isinstance(values, list) else values[rows]
        for column, values in columns(name).items()
    }


def batch(name: str, rows: np.ndarray) -> pa.RecordBatch:
    """Some rows as a batch of the log."""
    chosen = taken(name, rows)
    arrays = [
        pa.array(values).dictionary_encode() if isinstance(values, list) else pa.array(values)
        for values in chosen.values()
    ]
    return pa.record_batch(arrays, names=[f"x:{column}" for column in chosen])
