"""The drift baseline of a model version: how each feature, and the prediction, was distributed when it was made.

Bins come from the baseline alone and are saved with the version, so that a window of traffic is only ever *counted*:

- a number: deciles as inner edges (tied ones merged), the outer edges at +-infinity; or, with 20 distinct values or
  fewer that repeat, one bin a value and one for every other value;
- a string: the `TOP_CATEGORIES` most frequent categories and one bin for every other; a boolean: false and true;
- a bin of its own, the last one, for missing values.

Beside its bins a number has a finer *grid* of 256 baseline quantiles; its cells refine the bins and feed the gridded
Wasserstein distance. A value that fills a whole quantile step (an atom) gets a cell of its own.

Cells and bins are half open to the left: cell i holds `grid[i-1] < x <= grid[i]`, which is
`numpy.searchsorted(grid, x, side="left")`. Values are compared in the feature's own precision, as the log holds them.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, FiniteFloat, NonNegativeInt, model_validator

from schemas.base import Document
from schemas.features import DType, Feature, Signature
from schemas.predictions import INPUT, LABEL, SCORE, VALUE

BINS = 10
GRID_QUANTILES = 256
DISTINCT_VALUES = 20
TOP_CATEGORIES = 100
MAX_ELEMENTS = 64
"""A vector or tensor with more elements is watched through its mean, std, min and max instead of each element."""

SCORE_RESOLUTION = 0.001
"""Probabilities that differ by less are not told apart by bins."""
SUMMARY_RESOLUTION = 1e-6
"""The same for a tensor's mean, std, min and max."""

SUMMARIES: tuple[Literal["mean", "std", "min", "max"], ...] = ("mean", "std", "min", "max")
PREDICTION, PREDICTION_SCORE = "prediction", "prediction_score"

Floats = npt.NDArray[np.float64]


class Kind(StrEnum):
    """What distances a feature has."""

    NUMBER = "number"
    CATEGORY = "category"
    BOOLEAN = "boolean"


class FeatureBaseline(Document):
    """One watched quantity: a scalar feature, one element or one summary of a vector, or the prediction.

    `column` is the prediction log's column; `element` or `summary` says which part of a vector's column. `counts` has
    one entry a bin: the quantile bins, or the `values`, or the `categories`; then, unless the bins are quantiles or
    the kind is boolean, every other value; then missing. `minimum` .. `std` are over the finite values.
    """

    name: str
    column: str
    kind: Kind
    dtype: DType
    element: int | None = None
    summary: Literal["mean", "std", "min", "max"] | None = None
    missing_value: str | float | None = None
    rows: int = Field(ge=0)
    counts: tuple[NonNegativeInt, ...]
    edges: tuple[FiniteFloat, ...] | None = None
    values: tuple[FiniteFloat, ...] | None = None
    categories: tuple[str, ...] | None = None
    grid: tuple[FiniteFloat, ...] = ()
    grid_counts: tuple[NonNegativeInt, ...] = ()
    mean: FiniteFloat | None = None
    std: FiniteFloat | None = None
    minimum: FiniteFloat | None = None
    maximum: FiniteFloat | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.counts) != self.rows or len(self.counts) != len(self.bin_names):
            raise ValueError(f"feature {self.name!r}: the counts of the bins do not add up to {self.rows} rows")
        if self.kind is Kind.NUMBER and len(self.grid_counts) != len(self.grid) + 2:
            raise ValueError(f"feature {self.name!r}: a grid of {len(self.grid)} edges needs that many counts + 2")
        return self

    @property
    def bin_names(self) -> tuple[str, ...]:
        """What each bin holds, in the order of `counts`."""
        if self.edges is not None:
            marks = ["-inf", *(f"{edge:g}" for edge in self.edges), "inf"]
            named = [f"({low}, {high}]" for low, high in pairwise(marks)]
        elif self.values is not None:
            named = [*(f"{value:g}" for value in self.values), "other"]
        else:
            named = [*(self.categories or ()), *(["other"] if self.kind is Kind.CATEGORY else [])]
        return (*named, "missing")

    @property
    def missing(self) -> int:
        """How many of the baseline's rows had no value."""
        return self.counts[-1]


class Baseline(Document):
    """The drift baseline of one version. `metrics` were measured on `metrics_rows` held-out rows."""

    rows: int = Field(ge=0)
    features: tuple[FeatureBaseline, ...]
    metrics: dict[str, FiniteFloat] = {}
    metrics_rows: int = 0

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        if len({feature.name for feature in self.features}) != len(self.features):
            raise ValueError("two features of a baseline have the same name")
        return self

    def to_bytes(self) -> bytes:
        """The JSON document `baseline.json`."""
        return self.model_dump_json(exclude_defaults=True).encode()

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of `to_bytes()`: which baseline a window was counted against."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def feature(self, name: str) -> FeatureBaseline:
        """The watched quantity called `name`. Raises `KeyError`."""
        for feature in self.features:
            if feature.name == name:
                return feature
        raise KeyError(name)


Column: TypeAlias = Any
"""Values of one feature: a pyarrow array (chunked or not), a NumPy array, or a sequence; vectors 2-D."""


def build_baseline(
    columns: Mapping[str, Column],
    signature: Signature,
    *,
    predictions: Column | None = None,
    scores: Column | None = None,
    labels: Column | None = None,
    metrics: Mapping[str, float] | None = None,
    metrics_rows: int | None = None,
) -> Baseline:
    """The baseline of a model with `signature` over raw, unencoded `columns` (one array a feature; vectors 2-D).

    `predictions` (labels, or numbers for regression), `scores` (probability of the predicted class) and `labels` (the
    truth, aligned with `predictions`) belong to *held-out* rows: predictions on training rows look surer than traffic
    ever will. With both predictions and labels of a classifier, the accuracy is computed and kept. Columns that the
    signature does not name are ignored. Raises `KeyError` naming a feature without a column. O(rows log rows).
    """
    features: list[FeatureBaseline] = []
    rows = 0
    for feature in signature.inputs:
        if feature.name not in columns:
            raise KeyError(feature.name)
        array = columns[feature.name]
        rows = len(array)
        features.extend(_watch_input(feature, array))
    taken = {feature.name for feature in features}
    measured = dict(metrics or {})
    if predictions is not None:
        name = PREDICTION if PREDICTION not in taken else LABEL
        if signature.classes is not None:
            features.append(_categorical(name, LABEL, DType.STRING, _strings(predictions), None, signature.classes))
        else:
            numbers = as_numbers(predictions, DType.FLOAT64)
            finite = numbers[np.isfinite(numbers)]
            spread = float(finite.std()) if len(finite) else 0.0
            features.append(_numeric(name, VALUE, DType.FLOAT64, numbers, computed=1e-6 * (spread or 1.0)))
        if labels is not None and signature.classes is not None:
            agree = pc.equal(_strings(predictions), _strings(labels))
            measured.setdefault("accuracy", pc.mean(pc.cast(agree, pa.float64())).as_py() or 0.0)
            metrics_rows = len(labels) if metrics_rows is None else metrics_rows
    if scores is not None:
        name = PREDICTION_SCORE if PREDICTION_SCORE not in taken else SCORE
        features.append(
            _numeric(name, SCORE, DType.FLOAT32, as_numbers(scores, DType.FLOAT32), computed=SCORE_RESOLUTION)
        )
    measured = {name: value for name, value in measured.items() if math.isfinite(value)}
    return Baseline(rows=rows, features=tuple(features), metrics=measured, metrics_rows=metrics_rows or 0)


def as_numbers(values: Column, dtype: DType, missing_value: float | None = None) -> npt.NDArray[Any]:
    """`values` in the precision that the log compares in: float32 for float16 and float32, else float64; NaN: missing.

    Nulls and `missing_value` become NaN. Keeps the shape of a 2-D array. Raises `ValueError` for text.
    """
    wanted = np.float32 if dtype in (DType.FLOAT16, DType.FLOAT32) else np.float64
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.FixedSizeListArray):
        width = values.type.list_size
        elements = values.values.slice(values.offset * width, len(values) * width)
        matrix = as_numbers(elements, dtype, missing_value).reshape(len(values), width)
        if values.null_count:
            matrix[values.is_null().to_numpy(zero_copy_only=False)] = np.nan
        return matrix
    if isinstance(values, pa.Array):
        values = values.to_numpy(zero_copy_only=False)
    array: npt.NDArray[Any] = np.asarray(values)
    if array.dtype == object:
        array = np.array([np.nan if value is None else value for value in array.ravel()]).reshape(array.shape)
    numbers = array.astype(wanted)
    if missing_value is not None:
        numbers = np.where(numbers == wanted(missing_value), wanted(np.nan), numbers)
    return numbers


def summarise(matrix: npt.NDArray[Any], summary: str) -> npt.NDArray[np.float32]:
    """One number a row of a (rows, elements) matrix: its `mean`, `std`, `min` or `max`."""
    if not matrix.size:
        return np.empty(matrix.shape[0], np.float32)
    return np.asarray(getattr(np, summary)(matrix.astype(np.float64), axis=1), np.float32)


def _watch_input(feature: Feature, values: Column) -> list[FeatureBaseline]:
    column = INPUT + feature.name
    if feature.dtype is DType.STRING:
        if feature.shape:
            return []
        missing = str(feature.missing) if feature.nullable else None
        return [_categorical(feature.name, column, feature.dtype, _strings(values), missing, None)]
    filler = missing_number(feature)
    numbers = as_numbers(values, feature.dtype, filler)
    if not feature.shape:
        if feature.dtype is DType.BOOL:
            return [_boolean(feature.name, column, numbers, filler)]
        return [_numeric(feature.name, column, feature.dtype, numbers, missing_value=filler)]
    matrix = numbers.reshape(len(numbers), -1)
    if feature.size <= MAX_ELEMENTS:
        return [
            _numeric(f"{feature.name}[{i}]", column, feature.dtype, matrix[:, i], element=i, missing_value=filler)
            for i in range(feature.size)
        ]
    return [
        _numeric(
            f"{feature.name}.{summary}",
            column,
            DType.FLOAT32,
            summarise(matrix, summary),
            summary=summary,
            computed=SUMMARY_RESOLUTION,
        )
        for summary in SUMMARIES
    ]


def missing_number(feature: Feature) -> float | None:
    """The number that stands for a missing value of `feature` in the log, beside NaN and null."""
    if not feature.nullable or feature.filler is None or isinstance(feature.filler, str):
        return None
    return float(feature.filler)


def _numeric(
    name: str,
    column: str,
    dtype: DType,
    numbers: npt.NDArray[Any],
    *,
    element: int | None = None,
    summary: Literal["mean", "std", "min", "max"] | None = None,
    missing_value: float | None = None,
    computed: float | None = None,
) -> FeatureBaseline:
    present = numbers[~np.isnan(numbers)]
    finite = np.sort(present[np.isfinite(present)])
    distinct = np.unique(finite)
    few = computed is None and 0 < len(distinct) <= DISTINCT_VALUES and 2 * len(distinct) <= len(finite)
    edges = None if few else np.unique(_quantiles(finite, np.arange(1, BINS) / BINS))
    if edges is not None and computed is not None:
        edges = _apart(edges, computed)
    values = distinct if few else None
    atoms, marks = (distinct, distinct) if few else _grid_marks(finite, edges)
    below = np.nextafter(atoms, atoms.dtype.type(-np.inf))
    grid = np.unique(np.concatenate([below[np.isfinite(below)], marks]))
    cells = np.bincount(np.searchsorted(grid, present), minlength=len(grid) + 1)
    missing = len(numbers) - len(present)
    bins = np.bincount(bin_of_cell(grid, edges, values), weights=cells, minlength=1).astype(np.int64)
    return FeatureBaseline(
        name=name,
        column=column,
        kind=Kind.NUMBER,
        dtype=dtype,
        element=element,
        summary=summary,
        missing_value=missing_value,
        rows=len(numbers),
        counts=(*bins.tolist(), missing),
        edges=None if edges is None else tuple(edges.tolist()),
        values=None if values is None else tuple(values.tolist()),
        grid=tuple(grid.tolist()),
        grid_counts=(*cells.tolist(), missing),
        mean=_computed(finite.mean(dtype=np.float64)) if len(finite) else None,
        std=_computed(finite.std(dtype=np.float64)) if len(finite) else None,
        minimum=float(finite[0]) if len(finite) else None,
        maximum=float(finite[-1]) if len(finite) else None,
    )


def _computed(number: Any) -> float | None:
    """A number, or None when it is beyond what a float64 holds."""
    return float(number) if np.isfinite(number) else None


def _apart(edges: npt.NDArray[Any], resolution: float) -> npt.NDArray[Any]:
    """Edges of a computed quantity: at least `resolution` apart, and half of it above the values they were taken from.

    Two computations of the same row differ in the last bits (another batch size, another machine); a saturated score
    has most of its deciles within those bits of 1. No row may change its bin by that.
    """
    kept: list[float] = []
    for edge in edges.tolist():
        if not kept or edge + resolution / 2 - kept[-1] >= resolution:
            kept.append(edge + resolution / 2)
    return np.unique(np.asarray(kept, edges.dtype))


def bin_of_cell(grid: npt.ArrayLike, edges: npt.ArrayLike | None, values: npt.ArrayLike | None) -> npt.NDArray[np.intp]:
    """Which bin each of the `len(grid) + 1` cells of present values belongs to (missing is no cell here)."""
    marks = np.asarray(grid, np.float64)
    if edges is not None:
        bounds = np.asarray(edges, np.float64)
        return np.append(np.searchsorted(bounds, marks), len(bounds)).astype(np.intp)
    named = np.asarray(values, np.float64)
    other = len(named)
    place = np.minimum(np.searchsorted(named, marks), max(other - 1, 0))
    return np.append(np.where(named[place] == marks, place, other), other).astype(np.intp)


def _grid_marks(finite: npt.NDArray[Any], edges: npt.NDArray[Any] | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """(atoms, all marks): the values that fill a whole quantile step, and every edge of the grid."""
    steps = _quantiles(finite, np.arange(GRID_QUANTILES + 1) / GRID_QUANTILES)
    atoms = np.unique(steps[1:][steps[1:] == steps[:-1]])
    return atoms, np.union1d(steps, edges if edges is not None else steps)


def _quantiles(finite: npt.NDArray[Any], at: Floats) -> npt.NDArray[Any]:
    """Quantiles that are values of the (sorted) sample: NumPy's `inverted_cdf`."""
    if not len(finite):
        return finite
    return finite[np.clip(np.ceil(at * len(finite)).astype(np.int64) - 1, 0, len(finite) - 1)]


def _strings(values: Column) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if isinstance(values, pa.Array):
        return values if pa.types.is_string(values.type) else values.cast(pa.utf8())
    return pa.array([None if value is None or value != value else str(value) for value in values], pa.utf8())


def _categorical(
    name: str, column: str, dtype: DType, strings: pa.Array, missing_value: str | None, known: Sequence[str] | None
) -> FeatureBaseline:
    counted = {item["values"]: item["counts"] for item in pc.value_counts(strings).to_pylist()}
    missing = counted.pop(None, 0)
    if missing_value is not None:
        missing += counted.pop(missing_value, 0)
    ranked = sorted(counted, key=lambda category: (-counted[category], category))
    categories = tuple(known or ())[:TOP_CATEGORIES] or tuple(ranked[:TOP_CATEGORIES])
    top = [counted.pop(category, 0) for category in categories]
    return FeatureBaseline(
        name=name,
        column=column,
        kind=Kind.CATEGORY,
        dtype=dtype,
        missing_value=missing_value,
        rows=len(strings),
        counts=(*top, sum(counted.values()), missing),
        categories=categories,
    )


def _boolean(name: str, column: str, numbers: npt.NDArray[Any], missing_value: float | None) -> FeatureBaseline:
    true, false = int(np.sum(numbers == 1)), int(np.sum(numbers == 0))
    return FeatureBaseline(
        name=name,
        column=column,
        kind=Kind.BOOLEAN,
        dtype=DType.BOOL,
        missing_value=missing_value,
        rows=len(numbers),
        counts=(false, true, len(numbers) - true - false),
        categories=("false", "true"),
    )
