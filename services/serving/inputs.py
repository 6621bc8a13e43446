"""Request JSON -> rows that fit the signature, or an error that names the feature.

Two readers, one result. The fast one is a msgspec decoder generated from the signature; it accepts what is exactly
right. Whatever it refuses is read again by the slow one, which finds every problem and knows the rule for missing
values (`schemas.features`), integers written as `3.0`, and NaN, which is not JSON but which some clients send; and the
clauses of the input contract, by which a request is mended and marked instead of refused.
"""

import json
import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import msgspec

from schemas.features import DType, Feature, Signature
from services.kernel.errors import InvalidInput, Undecodable
from services.serving.clauses import Clauses
from services.serving.columns import FlaggedRow, Row
from services.serving.flags import Clause, flag, joined
from services.serving.runtime import Array
from services.serving.values import INTEGER_RANGE, Misfit, fit, mended, missing, tensor_of

DEFAULT_STRING_BYTES = 64 << 10
"""Longest text of a string feature, where the settings say nothing else."""

_MOST_PROBLEMS = 10


class Malformed(Undecodable):
    """The body is not JSON, or not of the shape that the route reads."""

    code = "malformed"


class RowReader:
    """Reads rows of named values for one signature.

    `on_skew` is called with a feature's name for every request that has it wrong, refused or not. `clauses` may be
    changed at any time.
    """

    def __init__(self, signature: Signature, clauses: Clauses, on_skew: Callable[[str], None]) -> None:
        self._features = signature.inputs
        self._names = frozenset(feature.name for feature in signature.inputs)
        self.texts = tuple((i, f) for i, f in enumerate(signature.inputs) if f.dtype is DType.STRING)
        """The string features, with their places in a row."""
        self.clauses = clauses
        self._on_skew = on_skew
        self._careful = [
            (i, feature)
            for i, feature in enumerate(signature.inputs)
            if feature.shape != () or feature.dtype is DType.UINT64 or (feature.nullable and not _null_is_nan(feature))
        ]
        """The features, with their places, of which the fast decoder can't say all in types."""
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
        if not self._careful:
            return row
        return self._finish(row)

    def _finish(self, row: Row) -> Row:
        """What the fast decoder can't say in types. NaN is its word for an absent float, since JSON has none."""
        problems: list[tuple[str, str]] = []
        values = [math.nan if value is None else value for value in row] if None in row else list(row)
        flags: list[str] = []
        for place, feature in self._careful:
            value = row[place]
            try:
                absent = value is None or value != value
                values[place] = missing(feature) if absent else self._fitting(feature, value, flags)
            except Misfit as misfit:
                problems.append((feature.name, str(misfit)))
        if problems:
            raise self._refusal(problems)
        return FlaggedRow.of(values, joined(flags)) if flags else tuple(values)

    def read_value(self, document: object) -> Row:
        """The row in a parsed JSON object. Raises `InvalidInput` naming every feature that is wrong."""
        if not isinstance(document, dict):
            raise InvalidInput("input must be an object that maps feature names to values")
        problems: list[tuple[str, str]] = []
        flags: list[str] = []
        for name in document:
            if name not in self._names:
                if self.clauses.unexpected == "reject":
                    problems.append((name, "is not a feature of this model"))
                else:
                    flags.append(self._mark(name, "unexpected"))
        values: list[object] = []
        for feature in self._features:
            try:
                values.append(self._value(feature, document, flags))
            except Misfit as misfit:
                problems.append((feature.name, str(misfit)))
        if problems:
            raise self._refusal(problems)
        return FlaggedRow.of(values, joined(flags)) if flags else tuple(values)

    def _mark(self, name: str, clause: Clause) -> str:
        self._on_skew(name)
        return flag(name, clause)

    def _value(self, feature: Feature, document: dict[str, object], flags: list[str]) -> object:
        value = document.get(feature.name)
        if value is not None:
            return self._fitting(feature, value, flags)
        if feature.nullable:
            return missing(feature)
        problem = "is null, but this feature may not be missing" if feature.name in document else "is missing"
        if self.clauses.missing == "reject":
            raise Misfit(problem)
        if feature.filler is None:
            raise Misfit(f"{problem}, and the signature has no filler that could stand for it")
        flags.append(self._mark(feature.name, "missing"))
        return missing(feature)

    def _fitting(self, feature: Feature, value: object, flags: list[str]) -> object:
        if self.clauses.type == "reject":
            return fit(feature, value)
        try:
            return fit(feature, value)
        except Misfit:
            fitted = fit(feature, value, mended)
        flags.append(self._mark(feature.name, "type"))
        return fitted

    # one tensor of protocol V2 a feature: the same clauses, for all rows of a request at once

    def left_out(self, name: str) -> str:
        """The flag of an input that the model does not have. Raises `InvalidInput`."""
        if self.clauses.unexpected == "reject":
            known = ", ".join(feature.name for feature in self._features)
            raise InvalidInput(f"input {name[:100]!r} is none of this model's: {known[:500]}")
        return self._mark(name, "unexpected")

    def stand_in(self, feature: Feature) -> str | None:
        """The flag of an input that a request lacks and that is filled in; None where it may be missing. Raises
        `InvalidInput`."""
        if feature.nullable:
            return None
        problem = f"the request lacks the input {feature.name!r}"
        if self.clauses.missing == "reject":
            raise InvalidInput(problem)
        if feature.filler is None:
            raise InvalidInput(f"{problem}, and the signature has no filler that could stand for it")
        return self._mark(feature.name, "missing")

    def converted(self, feature: Feature) -> str:
        """The flag of an input of another type that was converted."""
        return self._mark(feature.name, "type")

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
    """Parse JSON that may hold NaN or Infinity. Raises `Malformed` for anything else that is not JSON.

    Half of a surrogate pair is refused wherever it is: no text that holds one can be logged, answered or hashed.
    """
    try:
        text = raw.decode("utf-8-sig")
        document: object = json.loads(text)
        if "\\ud" in text or "\\uD" in text:
            json.dumps(document, ensure_ascii=False).encode()
        return document
    except RecursionError as error:
        raise Malformed("the JSON is nested too deeply") from error
    except UnicodeError as error:
        raise Malformed(f"the body is not JSON of valid Unicode: {error}") from error
    except ValueError as error:
        raise Malformed(f"the body is not JSON: {error}") from error


def tensor(feature: Feature, values: object, rows: int | None = None, *, mend: bool = False) -> Array:
    """An array of the feature's type from nested or flat lists: `[*shape]`, or `[rows, *shape]` when `rows` is given.

    `mend`: elements of another kind are converted where that loses nothing. Raises `InvalidInput` naming the feature.
    """
    try:
        shape = feature.shape if rows is None else (rows, *feature.shape)
        return tensor_of(feature, values, shape, mended if mend else None)
    except Misfit as misfit:
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
    low, high = INTEGER_RANGE[feature.dtype]
    return Annotated[int, msgspec.Meta(ge=low, le=None if feature.dtype is DType.UINT64 else high)]


def _null_is_nan(feature: Feature) -> bool:
    return feature.shape == () and feature.dtype.is_float and feature.filler is None
