"""The orders in which versions are listed; each is walked along an index, and each position in it has a key."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from services.kernel.errors import InvalidInput
from services.registry.search.fields import MAX_NAME
from services.registry.tables import version_metrics, versions

Key = tuple[Any, ...]
"""The position of a version in an order; the last member is its `seq`, so no two are the same."""

Place = tuple[sa.FromClause, list[sa.ColumnElement[Any]], list[sa.ColumnElement[bool]]]
"""The table whose index is walked, the columns of the key, and what its rows must fulfil."""

QUOTES = "\"'`"

_FORM = re.compile(r"(?P<what>registered_at|version|model_id|metrics\.(?P<name>.+?))(\s+(?P<way>asc|desc))?", re.DOTALL)


@dataclass(frozen=True)
class Ordering:
    """One order. `kinds` are the types of its key's members.

    `registered_at` is the order in which registrations were committed, whatever the clock said. `version` is by
    number, `model_id` by id (in the order of its bytes), then number. `metrics.NAME` has only versions with
    that metric.
    """

    what: str
    metric: str | None
    descending: bool
    kinds: tuple[type, ...]

    def place(self, dialect: str) -> Place:
        """The table whose index is walked, the columns of the key, and what its rows must fulfil."""
        place = (version_metrics if self.metric is not None else versions).alias("place")
        if self.metric is not None:
            return place, [place.c.value, place.c.seq], [place.c.name == self.metric]
        numbers = [place.c.major, place.c.minor, place.c.patch]
        if self.what == "version":
            return place, [*numbers, place.c.seq], []
        if self.what == "model_id":
            model_id = place.c.model_id if dialect == "sqlite" else place.c.model_id.collate("C")
            return place, [model_id, *numbers, place.c.seq], []
        return place, [place.c.seq], []

    def sorted(self, keys: Sequence[Key]) -> list[Key]:
        """The keys in this order."""
        return sorted(keys, reverse=self.descending)

    def passed(self, key: Key, position: Key) -> bool:
        """Whether `key` comes after `position`."""
        return key < position if self.descending else key > position


def read_ordering(text: str) -> Ordering:
    """An order from `registered_at`, `version`, `model_id` or `metrics.NAME`, with `asc` or `desc` behind it.

    Without either: newest and greatest first, ids from A to Z. Raises `InvalidInput`.
    """
    found = _FORM.fullmatch(text.strip())
    name = found["name"] if found else None
    if found is None or (name is not None and len(name) > MAX_NAME) or "\0" in text:
        raise InvalidInput(
            "order_by: give registered_at, version, model_id or metrics.NAME, with `asc` or `desc` behind it"
        )
    if name is not None and name[0] not in QUOTES and re.search(r"[\s,]", name):
        raise InvalidInput(
            f"order_by: one order, and a metric's name with blanks or commas in quotes: metrics.`{name}`"
        )
    if name is not None and name[0] == name[-1] and name[0] in QUOTES and len(name) > 2:
        name = name[1:-1].replace(name[0] * 2, name[0])
    what = "metrics" if name is not None else found["what"]
    descending = found["way"] == "desc" if found["way"] else what != "model_id"
    return Ordering(what, name, descending, _KINDS[what])


_KINDS: dict[str, tuple[type, ...]] = {
    "registered_at": (int,),
    "version": (int, int, int, int),
    "model_id": (str, int, int, int, int),
    "metrics": (float, int),
}
