"""What a filter says, as a tree; `str(tree)` is a filter that reads back as the same tree."""

from dataclasses import dataclass
from datetime import datetime, timedelta

Value = str | float | bool | datetime | timedelta | tuple[int, int, int]
"""Text, a number, a flag, a time, a time that long ago, or a version's numbers."""


@dataclass(frozen=True)
class Field:
    """What is compared: a column (`stage`), or one of the named values (`metrics.accuracy`)."""

    kind: str
    name: str | None = None

    def __str__(self) -> str:
        return self.kind if self.name is None else f"{self.kind}.{quoted(self.name)}"


@dataclass(frozen=True)
class Comparison:
    """`field operator values`; several values for `in` and `not in`, none for `exists`."""

    field: Field
    operator: str
    values: tuple[Value, ...] = ()

    def __str__(self) -> str:
        if self.operator == "exists":
            return f"{self.field} exists"
        if self.operator in ("in", "not in"):
            return f"{self.field} {self.operator} ({', '.join(map(_value, self.values))})"
        return f"{self.field} {self.operator} {_value(self.values[0])}"


@dataclass(frozen=True)
class Not:
    """What does not hold for `part`: the exact complement."""

    part: "Expression"

    def __str__(self) -> str:
        return f"not ({self.part})"


@dataclass(frozen=True)
class And:
    """Every part holds."""

    parts: tuple["Expression", ...]

    def __str__(self) -> str:
        return " and ".join(f"({part})" for part in self.parts)


@dataclass(frozen=True)
class Or:
    """One part holds, or several."""

    parts: tuple["Expression", ...]

    def __str__(self) -> str:
        return " or ".join(f"({part})" for part in self.parts)


Expression = Comparison | Not | And | Or


def quoted(text: str) -> str:
    """`text` as it stands in a filter.

    >>> quoted('so "it" is')
    '"so ""it"" is"'
    """
    return '"' + text.replace('"', '""') + '"'


def conjuncts(expression: Expression | None) -> tuple[Expression, ...]:
    """The parts that must all hold."""
    if expression is None:
        return ()
    if isinstance(expression, And):
        return tuple(part for each in expression.parts for part in conjuncts(each))
    return (expression,)


def _value(value: Value) -> str:
    match value:
        case bool():
            return str(value).lower()
        case str():
            return quoted(value)
        case float():
            return repr(value)
        case datetime():
            return value.isoformat()
        case timedelta():
            return f"{value // timedelta(seconds=1)}s"
        case _:
            return ".".join(map(str, value))
