"""Single predictions in JSON, from anyone, as rows of the columnar log; and what in them does not fit the signature."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from schemas.features import DType, Feature, OutputRole, Signature
from schemas.predictions import INPUT, LABEL, PROBABILITIES, SCORE, SUMMARY, VALUE, Prediction, batch_schema, input_type

MAX_UNEXPECTED = 50
_NOTHING = object()
_LARGEST_EXACT = 2**1023
_INTEGERS = {
    dtype: (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    for dtype, bits, signed in (
        (DType.INT8, 8, True),
        (DType.INT16, 16, True),
        (DType.INT32, 32, True),
        (DType.INT64, 64, True),
        (DType.UINT8, 8, False),
        (DType.UINT16, 16, False),
        (DType.UINT32, 32, False),
        (DType.UINT64, 64, False),
    )
}


@dataclass(frozen=True)
class JsonRow:
    """A prediction with the id and the time that stand for it."""

    prediction: Prediction
    prediction_id: str
    time: datetime


def to_batch(rows: Sequence[JsonRow], signature: Signature, version: str) -> tuple[pa.RecordBatch, Counter[str]]:
    """(the rows as `batch_schema(signature)` with a `prediction_id`, skew counts by feature).

    A value that does not fit its feature is logged as missing and counted as skew; so is a missing value of a feature
    that is not nullable, and a feature that the signature does not know (at most `MAX_UNEXPECTED` names).
    """
    skew: Counter[str] = Counter()
    known = {feature.name for feature in signature.inputs}
    for row in rows:
        for name in row.prediction.input.keys() - known:
            if name in skew or len(skew) < MAX_UNEXPECTED:
                skew[name[:256]] += 1
    columns: dict[str, Any] = {
        "time": [row.time.astimezone(UTC) for row in rows],
        "version": [version] * len(rows),
        "route": [row.prediction.route for row in rows],
        "latency_us": [_latency(row.prediction.latency_ms) for row in rows],
        "error": [row.prediction.error for row in rows],
    }
    for feature in signature.inputs:
        values = [row.prediction.input.get(feature.name, _NOTHING) for row in rows]
        if not _all_fit(feature, values):
            values = [_fit(feature, value, skew) for value in values]
        columns[INPUT + feature.name] = values
    columns |= _outputs(rows, signature)
    schema = batch_schema(signature)
    arrays = [pa.array(columns[field.name], field.type) for field in schema]
    names = [*schema.names, "prediction_id"]
    return pa.record_batch([*arrays, pa.array([row.prediction_id for row in rows])], names=names), skew


def _latency(milliseconds: float | None) -> int:
    if milliseconds is None or not math.isfinite(milliseconds):
        return 0
    return int(min(max(milliseconds, 0.0) * 1000, 2**32 - 1))


def _all_fit(feature: Feature, values: Sequence[object]) -> bool:
    """Whether all values are plainly of the feature's type: the rule, found without looking at each in Python."""
    if feature.shape:
        return False
    kinds = set(map(type, values))
    if feature.dtype is DType.STRING:
        return kinds == {str}
    if feature.dtype is DType.BOOL:
        return kinds == {bool}
    if feature.dtype.is_float:
        return kinds == {float}
    low, high = _INTEGERS[feature.dtype]
    return kinds == {int} and low <= min(values) and max(values) <= high  # type: ignore[type-var, operator]


def _fit(feature: Feature, value: object, skew: Counter[str]) -> Any:
    if value is None or value is _NOTHING:
        if not feature.nullable:
            skew[feature.name] += 1
        return feature.filler if feature.nullable and not feature.shape else None
    fitted = _fit_vector(feature, value) if feature.shape else _scalar(feature.dtype, value)
    if fitted is None:
        skew[feature.name] += 1
    return fitted


def _scalar(dtype: DType, value: object) -> Any:
    """`value` as an element of `dtype`, or None when it does not fit."""
    if dtype is DType.STRING:
        return value if isinstance(value, str) else None
    if dtype is DType.BOOL:
        return bool(value) if isinstance(value, bool) or value in (0, 1) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if dtype.is_float:
        return float(value) if isinstance(value, float) or abs(value) <= _LARGEST_EXACT else None
    low, high = _INTEGERS[dtype]
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if low <= value <= high else None


def _fit_vector(feature: Feature, value: object) -> Any:
    flat = list(_flatten(value))
    if len(flat) != feature.size:
        return None
    elements = [_scalar(feature.dtype, element) for element in flat]
    if any(element is None for element in elements):
        return None
    if input_type(feature) != SUMMARY:
        return elements
    mean = math.fsum(elements) / len(elements)
    std = math.sqrt(math.fsum((element - mean) ** 2 for element in elements) / len(elements))
    return {"mean": mean, "std": std, "min": min(elements), "max": max(elements)}


def _flatten(value: object) -> Any:
    if isinstance(value, list):
        for item in value:
            yield from _flatten(item)
    else:
        yield value


def _outputs(rows: Sequence[JsonRow], signature: Signature) -> Mapping[str, list[Any]]:
    if signature.classes is None:
        return {VALUE: [_number(row.prediction.prediction) for row in rows]}
    labels, scores, vectors = [], [], []
    for row in rows:
        chances = row.prediction.probabilities
        if chances is not None and len(chances) != len(signature.classes):
            chances = None
        label = None if row.prediction.prediction is None else str(row.prediction.prediction)
        if label is None and chances is not None:
            label = signature.classes[chances.index(max(chances))]
        labels.append(label)
        scores.append(max(chances) if chances is not None else None)
        vectors.append(list(chances) if chances is not None else None)
    columns: dict[str, list[Any]] = {LABEL: labels, SCORE: scores}
    if signature.output(OutputRole.PROBABILITIES) is not None:
        columns[PROBABILITIES] = vectors
    return columns


def _number(value: str | float | None) -> float | None:
    return float(value) if isinstance(value, int | float) else None
