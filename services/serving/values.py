"""Single values of a request as a model takes them: what fits, what can be converted without loss, what stands for a
missing one."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from schemas.features import DType, Feature
from services.serving.columns import numpy_dtype
from services.serving.runtime import Array

INTEGER_RANGE = {
    dtype: (int(np.iinfo(dtype.value).min), int(np.iinfo(dtype.value).max)) for dtype in DType if "int" in dtype.value
}
_FLOAT_MAX = {dtype: float(np.finfo(dtype.value).max) for dtype in DType if dtype.is_float}
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)
_LONGEST_NUMBER = 100
_EXACT = 2**53

Scalar = Callable[[DType, object], object]
"""(element type, value) -> the element, or raises `Misfit`."""


class Misfit(ValueError):
    """One value does not fit its feature."""


def missing(feature: Feature) -> object:
    """What stands for a missing value, of the feature's shape."""
    if feature.shape == ():
        return feature.missing
    return np.full(feature.shape, feature.missing, dtype=numpy_dtype(feature.dtype))


def fit(feature: Feature, value: object, scalar_of: Scalar | None = None) -> object:
    """`value` as `feature` takes it, each element by `scalar_of` (default: `scalar`). Raises `Misfit`."""
    if feature.shape != ():
        return value if isinstance(value, np.ndarray) else tensor_of(feature, value, feature.shape, scalar_of)
    return (scalar_of or scalar)(feature.dtype, value)


def scalar(dtype: DType, value: object) -> object:
    """`value` as an element of `dtype`. Raises `Misfit`."""
    if dtype is DType.STRING:
        if not isinstance(value, str):
            raise Misfit(f"must be a string, not {kind_of(value)}")
        if not value.isprintable() and any("\ud800" <= c <= "\udfff" for c in value):
            raise Misfit("is not valid Unicode")
        return value
    if dtype is DType.BOOL:
        if not isinstance(value, bool):
            raise Misfit(f"must be true or false, not {kind_of(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Misfit(f"must be a number, not {kind_of(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise Misfit(f"is {value}, which is not a number that a model takes; null stands for a missing value")
    if dtype.is_float:
        if abs(value) > _FLOAT_MAX[dtype]:
            raise Misfit(f"does not fit {dtype.value}")
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise Misfit(f"must be an integer, not {value}")
    low, high = INTEGER_RANGE[dtype]
    if not low <= value <= high:
        raise Misfit(f"does not fit {dtype.value}")
    return int(value)


def tensor_of(feature: Feature, values: object, shape: tuple[int, ...], scalar_of: Scalar | None = None) -> Array:
    """Nested or flat lists as an array of `shape`. Raises `Misfit`."""
    flat: list[object] = []
    _flatten(values, len(shape), flat)
    size = math.prod(shape)
    if len(flat) != size:
        raise Misfit(f"must hold {size} values for shape {list(shape)}, not {len(flat)}")
    kinds = set(map(type, flat))
    if feature.dtype in _FLOAT_MAX and kinds <= {int, float}:
        try:
            array = np.array(flat, dtype=np.float64)
        except OverflowError as error:
            raise Misfit(f"holds a number that does not fit {feature.dtype.value}") from error
        if (np.abs(array) <= _FLOAT_MAX[feature.dtype]).all():
            return array.astype(feature.dtype.value).reshape(shape)
    if _are_all(feature.dtype, kinds, flat):
        return np.array(flat, dtype=feature.dtype.value).reshape(shape)
    # NaN is the one way to write a missing element, so null is read as NaN where the feature is nullable.
    null = feature.missing if feature.nullable else None
    element = scalar_of or scalar
    fitted = [null if v is None and null is not None else element(feature.dtype, v) for v in flat]
    return np.array(fitted, dtype=numpy_dtype(feature.dtype)).reshape(shape)


def _are_all(dtype: DType, kinds: set[type], flat: list[Any]) -> bool:
    """Whether every one of `flat` is an integer or a boolean that `dtype` holds: to look at each takes 40 times as
    long."""
    if kinds == {int} and dtype in INTEGER_RANGE:
        low, high = INTEGER_RANGE[dtype]
        return bool(low <= min(flat) and max(flat) <= high)
    return kinds == {bool} and dtype is DType.BOOL


def _flatten(values: object, depth: int, flat: list[object]) -> None:
    if not isinstance(values, list):
        raise Misfit(f"must be a list, not {kind_of(values)}")
    if values and isinstance(values[0], list) and depth > 1:
        width = len(values[0])
        for inner in values:
            if not isinstance(inner, list) or len(inner) != width:
                raise Misfit("has rows of different lengths")
            _flatten(inner, depth - 1, flat)
    else:
        flat.extend(values)


def kind_of(value: object) -> str:
    """What JSON calls the value's kind."""
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def mended(dtype: DType, value: object) -> object:
    """`value` as an element of `dtype`, converted from another kind where that loses nothing. Raises `Misfit`.

    A text that is a JSON number is that number, and a number is its text; `true` and `false` are 1 and 0, both ways,
    and so are their texts.

    >>> mended(DType.FLOAT32, "3.5"), mended(DType.INT64, "3.0"), mended(DType.BOOL, 1), mended(DType.STRING, 3.0)
    (3.5, 3, True, '3')
    """
    try:
        return scalar(dtype, value)
    except Misfit:
        other = _converted(dtype, value)
        if other is None:
            raise
    return scalar(dtype, other)


def _converted(dtype: DType, value: object) -> object:
    """The value in a kind that `dtype` takes, or None."""
    if dtype is DType.STRING:
        return _as_text(value)
    if dtype is DType.BOOL:
        truths: dict[object, bool] = {1: True, 0: False, "true": True, "false": False}
        return truths.get(value) if isinstance(value, int | float | str) else None
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and len(value) <= _LONGEST_NUMBER and _NUMBER.fullmatch(value):
        number = json.loads(value)
        if isinstance(number, int) and dtype.is_float and float(number) != number:
            return None
        return number
    return None


def _as_text(value: object) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, int | float) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if abs(value) <= _EXACT and value == int(value):
        return str(int(value))
    return repr(value) if isinstance(value, float) else None
