"""What may be compared in a filter, with which operators, and how its values are written."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from schemas.events import Stage
from services.registry.search.expression import Field, Value

MAX_NAME = 256
"""Characters of a metric's or tag's name."""
MAX_WILDCARDS = 10
"""Signs `%` and `_` in one pattern."""

EQUALITY = ("=", "!=", "in", "not in", "exists")
ORDER = ("<", "<=", ">", ">=")
PATTERNS = ("contains", "like")

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")
_VERSION = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})")
_DURATION = re.compile(r"(\d{1,9})(s|m|h|d|w)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_LONGEST_SECONDS = 100 * 365 * 86_400


class BadValue(ValueError):
    """The text is no value of this kind; the sentence says what is expected."""


@dataclass(frozen=True)
class Kind:
    """A kind of values: its operators, and how one is read."""

    operators: tuple[str, ...]
    read: Callable[[str], Value]


def read_text(text: str) -> str:
    """Any text."""
    return text


def read_stage(text: str) -> str:
    """A stage."""
    if text not in set(Stage):
        raise BadValue(f"a stage ({', '.join(Stage)})")
    return text


def read_number(text: str) -> float:
    """A finite number.

    >>> read_number("-2.5e-3")
    -0.0025
    """
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise BadValue("a number")
    return float(text)


def read_time(text: str) -> datetime | timedelta:
    """An RFC 3339 time in any zone, a date (UTC), or a duration, which is that long ago.

    >>> read_time("7d")
    datetime.timedelta(days=7)
    """
    if found := _DURATION.fullmatch(text):
        seconds = int(found[1]) * _UNITS[found[2]]
        if seconds <= _LONGEST_SECONDS:
            return timedelta(seconds=seconds)
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None and len(text) == 10 else _zoned(time)
    except (ValueError, OverflowError) as error:
        raise BadValue(
            "a time such as 2026-01-31T12:00:00Z or 2026-01-31, or how long ago: 90s, 15m, 12h, 7d, 4w"
        ) from error


def read_version(text: str) -> tuple[int, int, int]:
    """The numbers of `MAJOR.MINOR.PATCH`."""
    found = _VERSION.fullmatch(text)
    if not found:
        raise BadValue("a version, MAJOR.MINOR.PATCH")
    return int(found[1]), int(found[2]), int(found[3])


def read_flag(text: str) -> bool:
    """true or false."""
    if text.lower() not in ("true", "false"):
        raise BadValue("true or false")
    return text.lower() == "true"


def _zoned(time: datetime) -> datetime:
    if time.tzinfo is None:
        raise ValueError("a time without its zone")
    return time.astimezone(UTC)


TEXT = Kind((*EQUALITY, *PATTERNS), read_text)
STAGE = Kind((*EQUALITY[:4],), read_stage)
NUMBER = Kind((*EQUALITY, *ORDER), read_number)
TIME = Kind(ORDER, read_time)
VERSION = Kind((*EQUALITY[:4], *ORDER), read_version)
FLAG = Kind(("=", "!="), read_flag)

KINDS: dict[str, Kind] = {
    "model_id": TEXT,
    "version": VERSION,
    "stage": STAGE,
    "alias": TEXT,
    "framework": TEXT,
    "registered_at": TIME,
    "registered_by": TEXT,
    "stage_since": TIME,
    "job_id": TEXT,
    "experiment_id": TEXT,
    "dataset_digest": TEXT,
    "parent_version": TEXT,
    "size_bytes": NUMBER,
    "signed": FLAG,
    "metrics": NUMBER,
    "tags": TEXT,
}
"""Field -> the kind of its values."""

NAMED = ("metrics", "tags")
"""Fields that want a name after a dot."""


def kind_of(field: Field) -> Kind:
    """The kind of a field's values."""
    return KINDS[field.kind]


def check_pattern(pattern: str) -> None:
    """Raise `BadValue` for a `like` pattern that ends with a lone backslash or has too many wildcards."""
    bare = re.sub(r"\\.", "", pattern, flags=re.DOTALL)
    if "\\" in bare:
        raise BadValue("a pattern in which every backslash stands before the sign that it protects")
    if bare.count("%") + bare.count("_") > MAX_WILDCARDS:
        raise BadValue(f"a pattern with at most {MAX_WILDCARDS} of the signs % and _")
