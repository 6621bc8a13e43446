"""Raw columns to the network's input vector, in NumPy; `graph` says the same in ONNX.

Order of the vector: numbers, scaled to mean 0 and standard deviation 1; booleans as 0 or 1; one place a category of
every string. A missing number is the mean, hence 0; a category that was not trained on has no place: all zeros.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.features import DType, Signature

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Encoding:
    """What was learnt from the training rows. `means` and `deviations` are float32 `[len(numbers)]`."""

    numbers: tuple[str, ...]
    means: Matrix
    deviations: Matrix
    flags: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    @property
    def width(self) -> int:
        """Length of the network's input vector."""
        return len(self.numbers) + len(self.flags) + sum(map(len, self.categories.values()))

    @classmethod
    def learn(cls, features: pa.Table, signature: Signature) -> Self:
        """Means and deviations of the rows; a constant number is divided by 1. A nullable string's missing value is a
        category of its own."""
        numbers = tuple(f.name for f in signature.inputs if f.dtype is DType.FLOAT32)
        columns = [np.asarray(features.column(name).cast(pa.float64()).drop_null()) for name in numbers]
        means = np.array([column.mean() if column.size else 0.0 for column in columns], dtype=np.float32)
        deviations = np.array([column.std() if column.size else 1.0 for column in columns], dtype=np.float32)
        deviations[~(deviations > 0)] = 1.0
        return cls(
            numbers=numbers,
            means=means,
            deviations=deviations,
            flags=tuple(f.name for f in signature.inputs if f.dtype is DType.BOOL),
            categories={
                f.name: (f.categories or ()) + ((str(f.missing),) if f.nullable else ())
                for f in signature.inputs
                if f.dtype is DType.STRING and (f.categories or f.nullable)
            },
        )

    def encode(self, features: pa.Table) -> Matrix:
        """`[rows, width]` float32. `features` has the training rows' columns, missing values are null."""
        encoded = np.zeros((features.num_rows, self.width), dtype=np.float32)
        for place, name in enumerate(self.numbers):
            values = number_column(features.column(name))
            scaled = (values - self.means[place]) / self.deviations[place]
            encoded[:, place] = np.where(np.isnan(scaled), np.float32(0), scaled)
        place = len(self.numbers)
        for name in self.flags:
            encoded[:, place] = flag_column(features.column(name))
            place += 1
        for name, known in self.categories.items():
            texts = pc.fill_null(features.column(name).cast(pa.string()), "")
            codes = np.asarray(pc.fill_null(pc.index_in(texts, pa.array(known)), -1))
            rows = np.flatnonzero(codes >= 0)
            encoded[rows, place + codes[rows]] = 1.0
            place += len(known)
        return encoded


def number_column(column: pa.ChunkedArray) -> Matrix:
    """`[rows]` float32, NaN where the value is missing."""
    values = np.asarray(column.cast(pa.float64()).fill_null(np.nan), dtype=np.float64)
    return values.astype(np.float32)


def flag_column(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """`[rows]` bool, false where the value is missing."""
    return np.asarray(column.cast(pa.bool_()).fill_null(False), dtype=np.bool_)


def feeds(features: pa.Table, signature: Signature) -> dict[str, NDArray[Any]]:
    """ONNX Runtime's inputs for these rows: `[rows, 1]` each, missing values as the signature says."""
    fed: dict[str, NDArray[Any]] = {}
    for feature in signature.inputs:
        column = features.column(feature.name)
        if feature.dtype is DType.STRING:
            texts = pc.fill_null(column.cast(pa.string()), str(feature.missing))
            values: NDArray[Any] = np.array(texts.to_pylist(), dtype=object)
        elif feature.dtype is DType.BOOL:
            values = flag_column(column)
        elif feature.dtype.is_float:
            values = number_column(column).astype(feature.dtype.value)
        else:
            filled = column.cast(pa.float64()).fill_null(float(feature.missing) if feature.nullable else 0.0)
            values = np.asarray(filled).astype(feature.dtype.value)
        fed[feature.name] = values.reshape(-1, 1)
    return fed
