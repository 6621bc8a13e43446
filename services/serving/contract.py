"""The clauses of the input contract that are about values: ranges and categories, checked on the columns of a batch.

What is compared is prepared once. A batch whose values are all in order costs two comparisons over all scalar float32
features together and one pass over each other feature that has a bound or categories; a signature with neither costs
nothing. A bound is rounded to the feature's own type, as the value was, so a value that equals its bound as written is
in range. A missing value is in range and in every category.
"""

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from schemas.features import DType, Feature
from services.kernel.errors import InvalidInput
from services.serving.clauses import Clauses
from services.serving.columns import Columns, Layout, Mask
from services.serving.flags import Clause, both, flag
from services.serving.runtime import Array

_MOST_PROBLEMS = 10
_LONGEST_VALUE = 100

Outside = Callable[[Array], "NDArray[np.bool_] | None"]
"""`[rows, *shape]` -> which elements break the clause, or None when none does."""

Broken = tuple[Feature, Clause, NDArray[np.bool_]]
"""A feature, the clause, and by row whether it is broken; some row is."""

Check = Callable[[Columns], Iterator[Broken]]


class _PackedRange:
    """The bounds of all scalar float32 features, compared at once."""

    def __init__(self, features: list[Feature]) -> None:
        self._features = features
        low = [-np.inf if f.minimum is None else f.minimum for f in features]
        high = [np.inf if f.maximum is None else f.maximum for f in features]
        fillers = [f.missing if f.nullable else np.nan for f in features]
        with np.errstate(over="ignore"):
            self._low = np.array(low, dtype=np.float32)[:, None]
            self._high = np.array(high, dtype=np.float32)[:, None]
            self._fillers = np.array(fillers, dtype=np.float32)[:, None]

    def __call__(self, columns: Columns) -> Iterator[Broken]:
        packed = columns.packed
        assert packed is not None, "a layout with scalar float32 features packs them"
        outside: NDArray[np.bool_] = (packed < self._low) | (packed > self._high)
        if not outside.any():
            return
        outside &= packed != self._fillers
        for feature, rows in zip(self._features, outside, strict=True):
            if rows.any():
                yield feature, "range", rows


class _ColumnCheck:
    """One clause of one feature that has a column of its own."""

    def __init__(self, place: int, feature: Feature, clause: Clause, outside: Outside) -> None:
        self._place = place
        self._feature = feature
        self._clause = clause
        self._outside = outside

    def __call__(self, columns: Columns) -> Iterator[Broken]:
        values = columns.others[self._place]
        outside = self._outside(values)
        if outside is None:
            return
        if self._feature.nullable:
            outside = outside & (values != self._feature.missing)
        by_row: Mask = np.asarray(outside.reshape(columns.rows, -1).any(axis=1))
        if by_row.any():
            yield self._feature, self._clause, by_row


class Contract:
    """What one signature says about values, under clauses that may be changed at any time."""

    def __init__(self, layout: Layout, clauses: Clauses) -> None:
        self._layout = layout
        packed = layout.packed_features
        checks: list[tuple[Clause, Check]] = []
        if any(feature.minimum is not None or feature.maximum is not None for feature in packed):
            checks.append(("range", _PackedRange(packed)))
        self._checks = [*checks, *_checks(layout.other_features)]
        self.clauses = clauses

    @property
    def clauses(self) -> Clauses:
        """What becomes of a row that breaks a clause."""
        return self._clauses

    @clauses.setter
    def clauses(self, clauses: Clauses) -> None:
        self._clauses = clauses
        ruling = {"range": clauses.range, "category": clauses.category}
        self._refusing = [check for clause, check in self._checks if ruling[clause] == "reject"]
        self._marking = [check for clause, check in self._checks if ruling[clause] == "flag"]

    def broken(self, columns: Columns) -> Mask | None:
        """Rows that are refused: NaN or infinity where the feature has none, and what clauses under `reject` say; None
        when there are none."""
        bad = self._layout.misfits(columns)
        for check in self._refusing:
            for _, _, rows in check(columns):
                bad = rows if bad is None else bad | rows
        return bad

    def refusal(self, columns: Columns) -> InvalidInput:
        """What to tell the sender of `columns`, of which some row is `broken`. Its `features` name each."""
        problems: dict[str, str] = {}
        for name in self._layout.misfitting_features(columns):
            problems[name] = "holds NaN, infinity or a number too large for its type"
        for feature, clause, rows in chain.from_iterable(check(columns) for check in self._refusing):
            problems.setdefault(feature.name, self._problem(columns, feature, clause, rows))
        shown = dict(list(problems.items())[:_MOST_PROBLEMS])
        sentence = "; ".join(f"{name[:100]!r} {problem}" for name, problem in shown.items())
        more = len(problems) - len(shown)
        sentence += f"; and {more} more" if more else ""
        detail = f"the input does not fit the model's signature: feature {sentence}"
        return InvalidInput(detail, features={name[:100]: problem for name, problem in shown.items()})

    def flagged(self, columns: Columns) -> Columns:
        """`columns` with the clauses under `flag` that a row breaks among its flags. They may be a shadow's too, so
        they are not changed."""
        flags = columns.flags
        for feature, clause, rows in chain.from_iterable(check(columns) for check in self._marking):
            text = flag(feature.name, clause)
            known = flags or [""] * columns.rows
            flags = [both(before, text) if bad else before for before, bad in zip(known, rows, strict=True)]
        if flags is columns.flags:
            return columns
        return Columns(columns.rows, columns.packed, columns.others, flags)

    def _problem(self, columns: Columns, feature: Feature, clause: Clause, rows: Mask) -> str:
        row = int(np.flatnonzero(rows)[0])
        where = f" in row {row}" if columns.rows > 1 else ""
        if feature.shape != ():
            inside = "every element must be" if clause == "range" else "every element must be one of the categories:"
            return f"is not in order{where}: {inside} {_allowed(feature, clause)}"
        values = dict(self._layout.scalars(columns))[feature.name]
        value = values[row]
        shown = repr(value[:_LONGEST_VALUE]) if isinstance(value, str) else f"{value}"
        if clause == "range":
            return f"is {shown}{where}, but must be {_allowed(feature, clause)}"
        return f"is {shown}{where}, which is none of its categories: {_allowed(feature, clause)}"


def _allowed(feature: Feature, clause: Clause) -> str:
    if clause == "category":
        known = feature.categories or ()
        named = ", ".join(repr(name[:_LONGEST_VALUE]) for name in known[:_MOST_PROBLEMS])
        return named + (f" and {len(known) - _MOST_PROBLEMS} more" if len(known) > _MOST_PROBLEMS else "")
    bounds = (("at least", feature.minimum), ("at most", feature.maximum))
    return " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)


def _checks(features: list[Feature]) -> Iterator[tuple[Clause, Check]]:
    for place, feature in enumerate(features):
        if feature.dtype is DType.STRING:
            if feature.categories is not None:
                yield "category", _ColumnCheck(place, feature, "category", _outside_of(feature.categories, feature))
        elif feature.dtype is not DType.BOOL and (feature.minimum is not None or feature.maximum is not None):
            yield "range", _ColumnCheck(place, feature, "range", _outside(feature))


def _outside(feature: Feature) -> Outside:
    low: float | np.floating | None = feature.minimum
    high: float | np.floating | None = feature.maximum
    if feature.dtype.is_float:
        kind = np.dtype(feature.dtype.value).type
        with np.errstate(over="ignore"):
            low = None if low is None else kind(low)
            high = None if high is None else kind(high)

    def outside(values: Array) -> NDArray[np.bool_] | None:
        below = values < low if low is not None else None
        above = values > high if high is not None else None
        bad = below if above is None else above if below is None else below | above
        return np.asarray(bad) if bad is not None and bad.any() else None

    return outside


def _outside_of(categories: tuple[str, ...], feature: Feature) -> Outside:
    known = frozenset(chain(categories, [feature.missing] if feature.nullable else []))

    def outside(values: Array) -> NDArray[np.bool_] | None:
        flat = values.reshape(-1).tolist()
        if known.issuperset(flat):
            return None
        return np.array([value not in known for value in flat], dtype=bool).reshape(values.shape)

    return outside
