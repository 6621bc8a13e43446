"""Rows with labels: a table of canonical columns (float64, string, bool; see `reading`) and one class name a row."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledRows:
    """Raw feature columns and, a row each, the class name (`labels`, a string array of the same length)."""

    features: pa.Table
    labels: pa.Array

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return int(self.features.num_rows)

    def take(self, indices: NDArray[Any]) -> Self:
        """The rows at `indices`, in that order."""
        return type(self)(self.features.take(pa.array(indices)), self.labels.take(pa.array(indices)))

    def joined(self, other: "LabelledRows") -> "LabelledRows":
        """These rows, then those of `other`, which has the same columns."""
        tables = pa.concat_tables([self.features, other.features]).combine_chunks()
        return LabelledRows(tables, pa.concat_arrays([self.labels, other.labels]))

    def class_indices(self, classes: tuple[str, ...]) -> NDArray[np.int64]:
        """`[rows]`: each label's place in `classes`, -1 for a label that is not among them."""
        places = pc.fill_null(pc.index_in(self.labels, pa.array(classes)), -1)
        return np.asarray(places, dtype=np.int64)

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of names, values and missing marks; independent of files, of chunking and of column order."""
        total = hashlib.sha256()
        for name in sorted(self.features.column_names):
            total.update(f"{name}\n{_column_digest(self.features.column(name))}\n".encode())
        total.update(_column_digest(pa.chunked_array([self.labels])).encode())
        return total.hexdigest()


def _column_digest(column: pa.ChunkedArray) -> str:
    digest = hashlib.sha256(str(column.type).encode())
    digest.update(np.asarray(column.is_valid()).tobytes())
    if pa.types.is_string(column.type):
        lengths = pc.fill_null(pc.binary_length(column), -1)
        digest.update(np.asarray(lengths, dtype="<i4").tobytes())
        digest.update("".join(value for value in column.to_pylist() if value is not None).encode())
    elif not pa.types.is_null(column.type):
        digest.update(np.asarray(column.cast(pa.float64()).fill_null(0.0), dtype="<f8").tobytes())
    return digest.hexdigest()
