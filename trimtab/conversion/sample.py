"""The rows that a model is registered with: as the model takes them, and column by column as the platform sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from schemas.features import DType
from trimtab.conversion.errors import NotConvertible
from trimtab.conversion.libraries import need

Array = NDArray[Any]


@dataclass(frozen=True)
class Column:
    """One feature of the sample.

    `values` is `[rows]` for a scalar (numbers and booleans as NumPy has them, strings as objects; a missing number is
    NaN, a missing string None) or `[rows, *shape]` for a tensor.
    """

    name: str
    dtype: DType
    values: Array

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one row; `()` for a scalar."""
        return self.values.shape[1:]

    @property
    def missing(self) -> NDArray[np.bool_]:
        """`[rows]`: where there is no value."""
        if self.dtype is DType.STRING:
            return np.array([value is None for value in self.values], dtype=np.bool_)
        if not self.dtype.is_float:
            return np.zeros(len(self.values), np.bool_)
        return np.asarray(np.isnan(self.values.reshape(len(self.values), -1)).any(axis=1))

    def narrowed(self) -> "Column":
        """The same in float32, if it is float64."""
        if self.dtype is not DType.FLOAT64:
            return self
        return Column(self.name, DType.FLOAT32, self.values.astype(np.float32))

    def arrow(self) -> Any:
        """The column as the prediction log holds it: an Arrow array, or a NumPy array for a tensor."""
        if self.shape:
            return self.values
        if self.dtype is DType.STRING:
            return pa.array(self.values, pa.string())
        return pa.array(self.values)


@dataclass(frozen=True)
class Sample:
    """Rows of raw features. `native` is what the model's own `predict` is called with."""

    native: Any
    columns: tuple[Column, ...]

    @property
    def rows(self) -> int:
        """How many there are; at least one."""
        return len(self.columns[0].values)

    @property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """The feature called `name`. Raises `KeyError`."""
        return {column.name: column for column in self.columns}[name]

    def narrowed(self) -> "Sample":
        """The same with every float64 column in float32."""
        return Sample(self.native, tuple(column.narrowed() for column in self.columns))

    def head(self, rows: int) -> "Sample":
        """The first `rows` rows."""
        if rows >= self.rows:
            return self
        columns = tuple(Column(column.name, column.dtype, column.values[:rows]) for column in self.columns)
        if isinstance(self.native, Mapping):
            return Sample({name: values[:rows] for name, values in self.native.items()}, columns)
        return Sample(self.native.iloc[:rows] if _is_frame(self.native) else self.native[:rows], columns)

    def only(self, names: Sequence[str]) -> "Sample":
        """The columns `names` of a DataFrame, in that order; any other sample as it is. Raises `NotConvertible`."""
        if not _is_frame(self.native) or self.names == tuple(names):
            return self
        lacking = [name for name in names if name not in self.names]
        if lacking:
            raise NotConvertible(
                f"the sample lacks the columns {', '.join(lacking[:10])}: give it all that the model was fitted on"
            )
        places = [self.names.index(name) for name in names]
        return Sample(self.native.iloc[:, places], tuple(self.columns[place] for place in places))

    def crossed(self, seed: int = 0) -> "Sample | None":
        """As many rows again, each feature drawn from its own column: combinations that the sample lacks.

        None for a sample whose native form can't be taken apart (several named tensors).
        """
        orders = [np.random.default_rng([seed, place]).permutation(self.rows) for place in range(len(self.columns))]
        columns = tuple(
            Column(column.name, column.dtype, column.values[order])
            for column, order in zip(self.columns, orders, strict=True)
        )
        if _is_frame(self.native):
            native = self.native.copy()
            for place, order in enumerate(orders):
                native.isetitem(place, self.native.iloc[order, place].array)
        elif isinstance(self.native, np.ndarray) and self.native.ndim == 2:
            native = np.stack([self.native[order, place] for place, order in enumerate(orders)], axis=1)
        else:
            return None
        return Sample(native, columns)


def read_sample(given: Any, names: Sequence[str] | None = None, own: Sequence[str] | None = None) -> Sample:
    """The sample in a DataFrame (pandas, or whatever has `to_pandas`), a two-dimensional array, a list of objects, or,
    for a Keras model, an array of any rank or a mapping of named arrays.

    `names` are those of an array's columns; else the model's `own`, if it has as many; else f0, f1, ... Raises
    `NotConvertible`.
    """
    if given is None:
        raise NotConvertible(
            "give sample=: a few hundred rows as the model takes them (a DataFrame or an array); the signature, the "
            "proof of the conversion and the drift baseline are made from them"
        )
    if not _is_frame(given) and hasattr(given, "to_pandas"):
        given = given.to_pandas()
    if isinstance(given, list) and given and isinstance(given[0], Mapping):
        given = need("pandas", install="pandas").DataFrame(given)
    if _is_frame(given):
        sample = Sample(given, _frame_columns(given))
    elif isinstance(given, Mapping):
        arrays = {str(name): _array(values) for name, values in given.items()}
        sample = Sample(arrays, tuple(_tensor_column(name, values) for name, values in arrays.items()))
    else:
        array = _array(given.toarray() if hasattr(given, "toarray") else given)
        sample = Sample(array, _array_columns(array, names, own))
    _check(sample)
    return sample


def _is_frame(given: Any) -> bool:
    return hasattr(given, "iloc") and hasattr(given, "columns")


def _array(given: Any) -> Array:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise NotConvertible(f"the sample is no table: {error}") from error
    if array.ndim < 2:
        raise NotConvertible(
            f"the sample has {array.ndim} dimensions ({type(given).__name__}): give rows and columns, as for predict()"
        )
    return array


def _frame_columns(frame: Any) -> tuple[Column, ...]:
    return tuple(_column(str(name), frame.iloc[:, place]) for place, name in enumerate(frame.columns))


def _array_columns(array: Array, names: Sequence[str] | None, own: Sequence[str] | None) -> tuple[Column, ...]:
    if array.ndim > 2:
        return (_tensor_column(names[0] if names else "x", array),)
    width = array.shape[1]
    if names is None and own is not None and len(own) == width:
        names = own
    if names is not None and len(names) != width:
        raise NotConvertible(f"there are {len(names)} feature_names and the sample has {width} columns")
    chosen = [str(name) for name in names] if names is not None else [f"f{place}" for place in range(width)]
    return tuple(
        _column(name, array[:, place] if array.dtype.kind in "fiub" else array[:, place].tolist())
        for place, name in enumerate(chosen)
    )


def _tensor_column(name: str, array: Array) -> Column:
    if array.dtype.kind not in "fiub":
        if array.shape[1:] == (1,):
            return _column(name, array[:, 0].tolist())
        raise NotConvertible(f"the input {name!r} of the sample holds {array.dtype}, no numbers")
    if array.shape[1:] == (1,):
        return _column(name, array[:, 0])
    return Column(name, DType.FLOAT32, array.astype(np.float32))


def _column(name: str, values: Any) -> Column:
    """The scalar feature in a pandas Series, an array or a list."""
    try:
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise NotConvertible(
            f"column {name!r} of the sample holds values of several kinds, or of one that no model is served with: "
            f"make them all numbers or all strings ({' '.join(str(error).split())[:200]})"
        ) from error
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    kind = array.type
    if pa.types.is_null(kind):
        raise NotConvertible(f"column {name!r} of the sample has no value in any row: add rows that have one")
    if pa.types.is_boolean(kind):
        if array.null_count:
            raise NotConvertible(
                f"column {name!r} of the sample has booleans and missing values: use numbers (1.0, 0.0, NaN) instead"
            )
        return Column(name, DType.BOOL, np.asarray(array))
    if pa.types.is_integer(kind) and not array.null_count:
        try:
            return Column(name, DType.INT64, np.asarray(array.cast(pa.int64())))
        except pa.ArrowInvalid as error:
            raise NotConvertible(f"column {name!r} of the sample does not fit int64: use floats") from error
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        wide = pa.types.is_integer(kind) or kind == pa.float64()
        numbers = np.asarray(pc.fill_null(array.cast(pa.float64()), np.nan))
        return Column(name, DType.FLOAT64, numbers) if wide else Column(name, DType.FLOAT32, numbers.astype(np.float32))
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return Column(name, DType.STRING, np.array(array.to_pylist(), dtype=object))
    raise NotConvertible(
        f"column {name!r} of the sample is {kind}: a model is served with numbers, booleans and strings; convert it "
        "before the model is fitted"
    )


def _check(sample: Sample) -> None:
    if not sample.columns:
        raise NotConvertible("the sample has no columns")
    repeated = {name for name in sample.names if sample.names.count(name) > 1}
    if repeated:
        raise NotConvertible(f"columns of the sample appear twice: {', '.join(sorted(repeated))}")
    for name in sample.names:
        if not 1 <= len(name) <= 256:
            raise NotConvertible(f"no feature can be called {name[:40]!r}: a name has 1 to 256 characters")
    if not sample.rows:
        raise NotConvertible("the sample is empty: give a few hundred rows as the model takes them")
    for column in sample.columns:
        if len(column.values) != sample.rows:
            raise NotConvertible(
                f"the input {column.name!r} of the sample has {len(column.values)} rows, not {sample.rows}"
            )
        if column.dtype.is_float and (np.abs(column.values) > np.finfo(np.float32).max).any():
            raise NotConvertible(
                f"column {column.name!r} of the sample holds an infinity, or a number beyond float32: serving never "
                "lets one in; clip it, or leave those rows out"
            )
