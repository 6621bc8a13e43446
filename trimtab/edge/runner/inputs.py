"""A row of named values -> values that fit the signature, or an error that names every feature that is wrong.

The rules are those of Trimtab's servers: a feature that is missing without being nullable, a value of another type,
NaN and an unexpected feature are refused (the last is left out and flagged under the policy `flag`); a number outside
of its feature's range and a text that is none of its categories are answered and flagged.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .errors import InvalidInput, Malformed
from .signature import FLOAT_MAX, INTEGER_RANGE, Feature, Scalar, Signature

Policy = Literal["reject", "flag"]
"""What an unexpected feature is: an error, or left out and flagged."""

STRING_BYTES = 64 << 10
"""Longest text of a string feature, in UTF-8."""
MOST_PROBLEMS = 10
"""Problems that one refusal names, and unexpected features that one row flags."""


class _Misfit(ValueError):
    """One value does not fit its feature."""


@dataclass
class Row:
    """The values in the signature's order (tensors flat), and by feature what was unusual: `range`, `category` or
    `unexpected`."""

    values: list[Any]
    flags: dict[str, str] = field(default_factory=dict)


class RowReader:
    """Reads rows for one signature. Thread-safe."""

    def __init__(self, signature: Signature, policy: Policy = "reject") -> None:
        self._features = [(feature, _Bounds(feature)) for feature in signature.inputs]
        self._names = frozenset(feature.name for feature in signature.inputs)
        self._policy = policy

    def read(self, document: object) -> Row:
        """The row in a parsed JSON object. Raises `InvalidInput`."""
        if not isinstance(document, dict):
            raise InvalidInput("input must be an object that maps feature names to values")
        row, problems = Row([]), {}
        for name in document:
            if name in self._names:
                continue
            if self._policy == "reject":
                problems[name] = "is not a feature of this model"
            elif len(row.flags) < MOST_PROBLEMS:
                row.flags[name[:256]] = "unexpected"
        for feature, bounds in self._features:
            try:
                value = self._value(feature, document)
            except _Misfit as misfit:
                problems[feature.name] = str(misfit)
                continue
            row.values.append(value)
            kind = bounds.kind_of(value)
            if kind:
                row.flags[feature.name] = kind
        if problems:
            raise _refusal(problems)
        return row

    @staticmethod
    def _value(feature: Feature, document: dict[str, object]) -> Any:
        value = document.get(feature.name)
        if value is None:
            if not feature.nullable:
                given = feature.name in document
                raise _Misfit("is null, but this feature may not be missing" if given else "is missing")
            return [feature.missing] * math.prod(feature.shape) if feature.shape else feature.missing
        return _tensor(feature, value) if feature.shape else _scalar(feature, value)


def load(text: bytes | str) -> Any:
    """Parse JSON. Raises `Malformed`."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise Malformed("the JSON is nested too deeply") from error
    except ValueError as error:
        raise Malformed(f"this is not JSON: {error}") from error


def columns(signature: Signature, rows: list[Row]) -> dict[str, np.ndarray[Any, Any]]:
    """One array a feature, `[rows, *shape]` and `[rows, 1]` for a scalar, as a graph takes them."""
    feed = {}
    for place, feature in enumerate(signature.inputs):
        kind: Any = object if feature.is_text else feature.dtype
        with np.errstate(over="ignore"):
            array = np.array([row.values[place] for row in rows], dtype=kind)
        feed[feature.name] = array.reshape(len(rows), *(feature.shape or (1,)))
    return feed


def _scalar(feature: Feature, value: object) -> Scalar:
    dtype = feature.dtype
    if feature.is_text:
        return _text(value)
    if dtype == "bool":
        if not isinstance(value, bool):
            raise _Misfit(f"must be true or false, not {_kind(value)}")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Misfit(f"must be a number, not {_kind(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Misfit(f"is {value}, which is not a number that a model takes; null stands for a missing value")
    if feature.is_float:
        if abs(value) > FLOAT_MAX[dtype]:
            raise _Misfit(f"does not fit {dtype}")
        return float(value)
    if isinstance(value, float) and not value.is_integer():
        raise _Misfit(f"must be an integer, not {value}")
    low, high = INTEGER_RANGE[dtype]
    if not low <= value <= high:
        raise _Misfit(f"does not fit {dtype}")
    return int(value)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _Misfit(f"must be a string, not {_kind(value)}")
    if not value.isprintable():
        if any("\ud800" <= sign <= "\udfff" for sign in value):
            raise _Misfit("is not valid Unicode")
        if "\0" in value:
            raise _Misfit("holds a NUL character")
    if len(value) * 4 > STRING_BYTES and len(value.encode()) > STRING_BYTES:
        raise _Misfit(f"is longer than {STRING_BYTES} bytes")
    return value


def _tensor(feature: Feature, values: object) -> list[Scalar]:
    flat: list[object] = []
    _flatten(values, len(feature.shape), flat)
    size = math.prod(feature.shape)
    if len(flat) != size:
        raise _Misfit(f"must hold {size} values for shape {list(feature.shape)}, not {len(flat)}")
    null = feature.missing if feature.nullable else None
    return [null if value is None and null is not None else _scalar(feature, value) for value in flat]


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


class _Bounds:
    """What of one feature's values is unusual. A bound is rounded to the feature's own type, as the value is; a missing
    value is in range and in every category."""

    def __init__(self, feature: Feature) -> None:
        self._scalar = not feature.shape
        self._known = feature.categories if feature.is_text else None
        self._missing = feature.missing if feature.nullable else None
        self._round: Any = np.dtype(feature.dtype).type if feature.is_float else int
        bounded = not feature.is_text and feature.dtype != "bool"
        with np.errstate(over="ignore"):
            self._low = None if not bounded or feature.minimum is None else self._bound(feature.minimum)
            self._high = None if not bounded or feature.maximum is None else self._bound(feature.maximum)

    def _bound(self, bound: float) -> Any:
        return bound if self._round is int else self._round(bound)

    def kind_of(self, value: Any) -> str | None:
        """`range`, `category` or None."""
        elements = [value] if self._scalar else value
        if self._known is not None:
            strange = any(text not in self._known and text != self._missing for text in elements)
            return "category" if strange else None
        if self._low is None and self._high is None:
            return None
        with np.errstate(over="ignore"):
            return "range" if any(self._outside(number) for number in elements) else None

    def _outside(self, number: Any) -> bool:
        if number == self._missing:
            return False
        rounded = self._round(number)
        return bool(
            (self._low is not None and rounded < self._low) or (self._high is not None and rounded > self._high)
        )


def _refusal(problems: dict[str, str]) -> InvalidInput:
    shown = dict(list(problems.items())[:MOST_PROBLEMS])
    sentence = "; ".join(f"{name[:100]!r} {problem}" for name, problem in shown.items())
    more = len(problems) - len(shown)
    sentence += f"; and {more} more" if more else ""
    return InvalidInput(
        f"the input does not fit the model's signature: feature {sentence}",
        {name[:100]: problem for name, problem in shown.items()},
    )


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)
