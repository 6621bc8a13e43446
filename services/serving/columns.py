"""The inputs of many rows as NumPy columns: what a runtime is fed with and what the prediction log writes.

All scalar float32 features share one array `[features, rows]`, because one conversion of a table costs far less than
one a column. Every other feature has an array of its own, `[rows, *shape]`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType, Feature, Signature
from services.serving.runtime import Array

Row = tuple[object, ...]
"""One row's values in the signature's order; tensors as arrays of the feature's shape."""

Mask = NDArray[np.bool_]

_all = np.logical_and.reduce  # half the cost of `ndarray.all`, which is Python


def numpy_dtype(dtype: DType) -> np.dtype[Any]:
    """The NumPy type of a feature's elements; strings are Python objects."""
    return np.dtype(object if dtype is DType.STRING else dtype.value)


@dataclass(slots=True)
class Columns:
    """`rows` rows of inputs, as a `Layout` arranges them. `flags` tell, by row, what of the request broke the input
    contract and was mended ('': nothing; see `services.serving.flags`); None: nothing in any row."""

    rows: int
    packed: NDArray[np.float32] | None
    others: list[Array]
    flags: list[str] | None = None


class FlaggedRow(tuple[object, ...]):
    """A row that was mended, with its `flags`."""

    flags: str

    @classmethod
    def of(cls, values: Iterable[object], flags: str) -> "FlaggedRow":
        """The row of `values`."""
        row = cls(values)
        row.flags = flags
        return row


class Layout:
    """Where each feature of one signature lies."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self._packed = [i for i, f in enumerate(signature.inputs) if f.shape == () and f.dtype is DType.FLOAT32]
        self._others = [i for i in range(len(signature.inputs)) if i not in set(self._packed)]
        self.packed_features = [signature.inputs[i] for i in self._packed]
        self.other_features = [signature.inputs[i] for i in self._others]
        self._all_packed = not self._others
        self._nullable = np.array([feature.nullable for feature in self.packed_features], dtype=bool)[:, None]
        self._dtypes = [numpy_dtype(feature.dtype) for feature in self.other_features]
        self._other_floats = [(i, f.nullable) for i, f in enumerate(self.other_features) if f.dtype.is_float]

    def from_rows(self, rows: Sequence[Row]) -> Columns:
        """Columns of validated rows."""
        columns = list(zip(*rows, strict=True))
        packed = None
        if self._packed:
            table = columns if self._all_packed else [columns[i] for i in self._packed]
            with np.errstate(over="ignore"):
                packed = np.array(table, dtype=np.float32)
        others = [
            self._column(columns[i], feature, dtype)
            for i, feature, dtype in zip(self._others, self.other_features, self._dtypes, strict=True)
        ]
        flags = None
        if FlaggedRow in map(type, rows):
            flags = [row.flags if isinstance(row, FlaggedRow) else "" for row in rows]
        return Columns(len(rows), packed, others, flags)

    @staticmethod
    def _column(values: tuple[object, ...], feature: Feature, dtype: np.dtype[Any]) -> Array:
        if feature.shape != ():
            return np.stack([np.asarray(value) for value in values])
        with np.errstate(over="ignore"):
            return np.array(values, dtype=dtype)

    def from_arrays(self, arrays: Sequence[Array], rows: int) -> Columns:
        """Columns of one array a feature, `[rows, *shape]`, in the signature's order and of its types."""
        packed = None
        if self._packed:
            packed = np.empty((len(self._packed), rows), dtype=np.float32)
            for place, i in enumerate(self._packed):
                packed[place] = arrays[i].reshape(rows)
        return Columns(rows, packed, [arrays[i] for i in self._others])

    @staticmethod
    def join(parts: Sequence[Columns]) -> Columns:
        """All rows of `parts`, in order."""
        if len(parts) == 1:
            return parts[0]
        tables = [part.packed for part in parts if part.packed is not None]
        flags = None
        if any(part.flags is not None for part in parts):
            flags = [flag for part in parts for flag in part.flags or [""] * part.rows]
        return Columns(
            sum(part.rows for part in parts),
            np.concatenate(tables, axis=1) if tables else None,
            [np.concatenate(column) for column in zip(*(part.others for part in parts), strict=True)],
            flags,
        )

    @staticmethod
    def take(columns: Columns, keep: Mask | slice) -> Columns:
        """The rows that `keep` selects."""
        packed = None if columns.packed is None else columns.packed[:, keep]
        others = [column[keep] for column in columns.others]
        rows = int(np.count_nonzero(keep)) if not isinstance(keep, slice) else len(range(columns.rows)[keep])
        flags = columns.flags
        if flags is not None:
            flags = flags[keep] if isinstance(keep, slice) else [flags[i] for i in np.flatnonzero(keep)]
        return Columns(rows, packed, others, flags)

    def feed(self, columns: Columns) -> dict[str, Array]:
        """What a runtime is run with: scalars as `[rows, 1]`, tensors as they are."""
        rows = columns.rows
        feed: dict[str, Array] = {}
        if columns.packed is not None:
            for feature, values in zip(self.packed_features, columns.packed, strict=True):
                feed[feature.name] = values.reshape(rows, 1)
        for feature, values in zip(self.other_features, columns.others, strict=True):
            feed[feature.name] = values.reshape(rows, 1) if feature.shape == () else values
        return feed

    def misfits(self, columns: Columns) -> Mask | None:
        """Rows with an infinite number, or NaN where the feature is not nullable; None when every row fits."""
        bad: Mask | None = None
        if columns.packed is not None:
            finite = np.isfinite(columns.packed)
            if not _all(finite, axis=None):
                finite |= np.isnan(columns.packed) & self._nullable
                bad = np.asarray(~finite.all(axis=0))
        for place, nullable in self._other_floats:
            values = columns.others[place]
            finite = np.isfinite(values)
            if not _all(finite, axis=None):
                if nullable:
                    finite |= np.isnan(values)
                wrong: Mask = np.asarray(~finite.reshape(columns.rows, -1).all(axis=1))
                bad = wrong if bad is None else bad | wrong
        return bad if bad is not None and bad.any() else None

    def misfitting_features(self, columns: Columns) -> list[str]:
        """The names of the features that make `misfits` refuse a row of `columns`."""
        return [
            feature.name
            for feature, values in self._floats(columns)
            if np.isinf(values).any() or (np.isnan(values).any() and not feature.nullable)
        ]

    def scalars(self, columns: Columns) -> Iterable[tuple[str, Array]]:
        """(name, values `[rows]`) of every feature that is no tensor."""
        if columns.packed is not None:
            yield from zip((feature.name for feature in self.packed_features), columns.packed, strict=True)
        for feature, values in zip(self.other_features, columns.others, strict=True):
            if feature.shape == ():
                yield feature.name, values

    def _floats(self, columns: Columns) -> Iterable[tuple[Feature, Array]]:
        if columns.packed is not None:
            yield from zip(self.packed_features, columns.packed, strict=True)
        for feature, values in zip(self.other_features, columns.others, strict=True):
            if feature.dtype.is_float:
                yield feature, values
