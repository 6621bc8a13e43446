"""Request JSON -> rows that fit the signature, or an error that names the feature.

Two readers, one result. The fast one is a msgspec decoder generated from the signature; it accepts what is exactly
right. Whatever it refuses is read again by the slow one, which finds every problem and knows the rule for missing
values (`schemas.features`), integers written as `3.0`, and NaN, which is not JSON but which some clients send.
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import msgspec
import numpy as np

from schemas.features import DType, Feature, Signature
from services.kernel.errors import InvalidInput, Undecodable
from services.serving.columns import Row, numpy_dtype
from services.serving.runtime import Array

Policy = Literal["reject", "flag"]
"""What an unexpected feature is: `reject` an error, `flag` left out. Both ways it is counted as schema skew. A feature
that is missing without being nullable, or of a wrong type, is always an error."""

DEFAULT_STRING_BYTES = 64 << 10
"""Longest text of a string feature, where the settings say nothing else."""

_MOST_PROBLEMS = 10
_INTEGER_RANGE = {
    dtype: (int(np.iinfo(dtype.value).min), int(np.iinfo(dtype.value).max)) for dtype in DType if "int" in dtype.value
}
_FLOAT_MAX = {dtype: float(np.finfo(dtype.value).max) for dtype in DType if dtype.is_float}


class Malformed(Undecodable):
    """The body is not JSON, or not of the shape that the route reads."""

    code = "malformed"


class _Misfit(ValueError):
    """One value does not fit its feature."""


class RowReader:
    """Reads rows of named values for one signature.

    `on_skew` is called with a feature's name for every request that has it wrong, refused or not.
    """

    def __init__(self, signature: Signature, policy: Policy, on_skew: Callable[[str], None]) -> None:
        self._features = signature.inputs
        self._names = frozenset(feature.name for feature in signature.inputs)
        self.texts = tuple((i, f) for i, f in enumerate(signature.inputs) if f.dtype is DType.STRING)
        """The string features, with their places in a row."""
        self._policy = policy
        self._on_skew = on_skew
        self._needs_care = not signature.is_tabular or any(
            feature.dtype is DType.UINT64 or (feature.nullable and not _null_is_nan(feature))
            for feature in signature.inputs
        )
        fields: list[tuple[str, Any, Any]] = []
        for i, feature in enumerate(signature.inputs):
            kind = _fast_type(feature)
            if feature.nullable:
                fields.append((f"f{i}", kind | None, feature.missing if _null_is_nan(feature) else None))
            else:
                fields.append((f"f{i}", kind, msgspec.NODEFAULT))
        struct = msgspec.defstruct(
            "Row",
            fields,
            rename={f"f{i}": feature.name for i, feature in enumerate(signature.inputs)},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode

    def read(self, raw: bytes | msgspec.Raw) -> Row:
        """The row in the JSON object `raw`. Raises `InvalidInput` naming the features, `Malformed` if it is no JSON."""
        try:
            row: Row = msgspec.structs.astuple(self._decode(raw))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self.read_value(load_leniently(bytes(raw)))
        if not self._needs_care:
            return row
        return self._finish(row)

    def _finish(self, row: Row) -> Row:
        """What the fast decoder can't say in types. NaN is its word for an absent float, since JSON has none."""
        problems: list[tuple[str, str]] = []
        values: list[object] = []
        for feature, value in zip(self._features, row, strict=True):
            try:
                values.append(_missing(feature) if value is None or value != value else _fit(feature, value))
            except _Misfit as misfit:
                problems.append((feature.name, str(misfit)))
        if problems:
            raise self._refusal(problems)
        return tuple(values)

    def read_value(self, document: object) -> Row:
        """The row in a parsed JSON object. Raises `InvalidInput` naming every feature that is wrong."""
        if not isinstance(document, dict):
            raise InvalidInput("input must be an object that maps feature names to values")
        problems: list[tuple[str, str]] = []
        for name in document:
            if name not in self._names:
                if self._policy == "flag":
                    self._on_skew(name)
                else:
                    problems.append((name, "is not a feature of this model"))
        values: list[object] = []
        for feature in self._features:
            try:
                values.append(self._value(feature, document))
            except _Misfit as misfit:
                problems.append((feature.name, str(misfit)))
        if problems:
            raise self._refusal(problems)
        return tuple(values)

    def _value(self, feature: Feature, document: dict[str, object]) -> object:
        value = document.get(feature.name)
        if value is not None:
            return _fit(feature, value)
        if feature.nullable:
            return _missing(feature)
        raise _Misfit("is null, but this feature may not be missing" if feature.name in document else "is missing")

    def _refusal(self, problems: list[tuple[str, str]]) -> InvalidInput:
        for name, _ in problems:
            self._on_skew(name)
        shown = problems[:_MOST_PROBLEMS]
        sentence = "; ".join(f"{name[:100]!r} {problem}" for name, problem in shown)
        more = len(problems) - len(shown)
        sentence += f"; and {more} more" if more else ""
        return InvalidInput(
            f"the input does not fit the model's signature: feature {sentence}",
            features={name[:100]: problem for name, problem in shown},
        )


def load_leniently(raw: bytes) -> object:
    """Parse JSON that may hold NaN or Infinity. Raises `Malformed` for anything else that is not JSON."""
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise Malformed("the JSON is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from error


def tensor(feature: Feature, values: object, rows: int | None = None) -> Array:
    """An array of the feature's type from nested or flat lists: `[*shape]`, or `[rows, *shape]` when `rows` is given.

    Raises `InvalidInput` naming the feature.
    """
    try:
        return _tensor(feature, values, feature.shape if rows is None else (rows, *feature.shape))
    except _Misfit as misfit:
        raise InvalidInput(f"input {feature.name!r} {misfit}", features={feature.name: str(misfit)}) from misfit


def check_texts(feature: Feature, values: Iterable[object], limit_bytes: int) -> None:
    """Raise `InvalidInput` naming the feature for a text that is longer than `limit_bytes` in UTF-8, or holds NUL.

    Validated texts end up in logs, tables and drift reports: what no category is ever called is not let in.
    """
    for value in values:
        if not isinstance(value, str):
            continue
        if len(value) * 4 > limit_bytes and len(value.encode()) > limit_bytes:
            problem = f"is longer than {limit_bytes} bytes: see TRIMTAB_SERVING_STRING_BYTES"
        elif "\0" in value:
            problem = "holds a NUL character"
        else:
            continue
        raise InvalidInput(f"feature {feature.name[:100]!r} {problem}", features={feature.name[:100]: problem})


def _fast_type(feature: Feature) -> Any:
    if feature.shape != ():
        return list[Any]
    if feature.dtype.is_float:
        return float
    if feature.dtype is DType.STRING:
        return str
    if feature.dtype is DType.BOOL:
        return bool
    low, high = _INTEGER_RANGE[feature.dtype]
    return Annotated[int, msgspec.Meta(ge=low, le=None if feature.dtype is DType.UINT64 else high)]


def _null_is_nan(feature: Feature) -> bool:
    return feature.shape == () and feature.dtype.is_float and feature.filler is None


def _missing(feature: Feature) -> object:
    if feature.shape == ():
        return feature.missing
    return np.full(feature.shape, feature.missing, dtype=numpy_dtype(feature.dtype))


def _fit(feature: Feature, value: object) -> object:
    if feature.shape != ():
        return value if isinstance(value, np.ndarray) else _tensor(feature, value, feature.shape)
    return _scalar(feature.dtype, value)


def _scalar(dtype: DType, value: object) -> object:
    if dtype is DType.STRING:
        if not isinstance(value, str):
            raise _Misfit(f"must be a string, not {_kind(value)}")
        if not value.isprintable() and any("\ud800" <= c <= "\udfff" for c in value):
            raise _Misfit("is not valid Unicode")
        return value
    if dtype is DType.BOOL:
        if not isinstance(value, bool):
            raise _Misfit(f"must be true or false, not {_kind(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Misfit(f"must be a number, not {_kind(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Misfit(f"is {value}, which is not a number that a model takes; null stands for a missing value")
    if dtype.is_float:
        if abs(value) > _FLOAT_MAX[dtype]:
            raise _Misfit(f"does not fit {dtype.value}")
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise _Misfit(f"must be an integer, not {value}")
    low, high = _INTEGER_RANGE[dtype]
    if not low <= value <= high:
        raise _Misfit(f"does not fit {dtype.value}")
    return int(value)


def _tensor(feature: Feature, values: object, shape: tuple[int, ...]) -> Array:
    flat: list[object] = []
    _flatten(values, len(shape), flat)
    size = math.prod(shape)
    if len(flat) != size:
        raise _Misfit(f"must hold {size} values for shape {list(shape)}, not {len(flat)}")
    kinds = set(map(type, flat))
    if feature.dtype in _FLOAT_MAX and kinds <= {int, float}:
        try:
            array = np.array(flat, dtype=np.float64)
        except OverflowError as error:
            raise _Misfit(f"holds a number that does not fit {feature.dtype.value}") from error
        if (np.abs(array) <= _FLOAT_MAX[feature.dtype]).all():
            return array.astype(feature.dtype.value).reshape(shape)
    # NaN is the one way to write a missing element, so null is read as NaN where the feature is nullable.
    null = feature.missing if feature.nullable else None
    fitted = [null if v is None and null is not None else _scalar(feature.dtype, v) for v in flat]
    return np.array(fitted, dtype=numpy_dtype(feature.dtype)).reshape(shape)


def _flatten(values: object, depth: int, flat: list[object]) -> None:
    if not isinstance(values, list):
        raise _Misfit(f"must be a list, not {_kind(values)}")
    if values and isinstance(values[0], list) and depth > 1:
        width = len(values[0])
        for inner in values:
            if not isinstance(inner, list) or len(inner) != width:
                raise _Misfit("has rows of different lengths")
            _flatten(inner, depth - 1, flat)
    else:
        flat.extend(values)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
