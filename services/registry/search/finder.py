"""One page of versions that fulfil a filter and a text, in bounded time.

Every part of the filter that an index can answer is asked whether it has more than `FEW` versions. If one has no
more, those few are tested and sorted. Otherwise versions are plentiful, and the index of the wanted order is walked
from where the page before ended, at most so many versions as `WALK` allows for what it costs to test one. A walk that
has found less by then answers with what it has found and where it stopped: such a page is short, or even empty, and
still has a cursor. Hence no question takes longer than a page's time, however many versions there are; none has an
OFFSET from the beginning, and what is registered meanwhile shifts nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from services.registry.search.conditions import PROBE_COST, Candidates, Conditions, cost_of, looked_up, visible
from services.registry.search.expression import And, Comparison, Expression, conjuncts
from services.registry.search.ordering import Key, Ordering, Place
from services.registry.search.rows import among, listed
from services.registry.search.text import key_of, matches, version_words
from services.registry.tables import version_metrics, versions

FEW = 2000
"""Versions that are tested and sorted without the order's index."""
ENOUGH = 100
"""No smaller set of candidates is looked for."""
ASKED_PARTS = 8
"""Parts of a filter that are asked for their candidates."""
WALK = 40_000
"""Looks at a column that one page may cost."""


@dataclass(frozen=True)
class Question:
    """What is searched for. `prefixes` are those that a model's id may begin with; none: any."""

    expression: Expression | None
    text: str
    ordering: Ordering
    prefixes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """Keys of versions in order, and the position to go on from, None at the end."""

    keys: list[Key]
    position: Key | None


def find(connection: sa.Connection, question: Question, *, after: Key | None, limit: int, now: datetime) -> Found:
    """Up to `limit` versions after the position `after`. Raises `InvalidInput` for a text of too many words."""
    return _Search(connection, question, now).page(after, limit)


class _Search:
    """One question to one database."""

    def __init__(self, connection: sa.Connection, question: Question, now: datetime) -> None:
        self._connection = connection
        self._question = question
        self._dialect = connection.dialect.name
        self._parts = conjuncts(question.expression)
        self._match = matches(self._dialect, question.text)
        self._conditions = Conditions(self._dialect, now)

    def page(self, after: Key | None, limit: int) -> Found:
        """See `find`."""
        few = self._few()
        return self._walk(after, limit) if few is None else self._tested(few, after, limit)

    # few candidates

    def _few(self) -> list[int] | None:
        """The smallest known set of candidates, if any has at most `FEW`."""
        if self._walks_words and not (self._parts or self._question.prefixes):
            return None
        smallest, least = None, FEW + 1
        for candidates, counted in self._askable():
            count = self._count(counted)
            if count < least:
                smallest, least = candidates, count
            if least <= ENOUGH:
                break
        return None if smallest is None else sorted(set(self._connection.execute(smallest).scalars()))

    def _count(self, query: Candidates) -> int:
        """How many rows a query has, but no more than one over `FEW`."""
        some = query.limit(FEW + 1).subquery("some")
        return int(self._connection.execute(sa.select(sa.func.count()).select_from(some)).scalar_one())

    def _askable(self) -> list[tuple[Candidates, Candidates]]:
        """Queries that name candidates, each with the one that counts them: most turn out to be too many."""
        asked: list[Candidates] = []
        if self._match is not None:
            asked.append(sa.select(key_of(self._dialect)).select_from(version_words).where(self._match))
        if self._question.prefixes:
            asked.append(sa.select(versions.c.seq).where(visible(self._question.prefixes, versions.c.model_id)))
        pairs = [(query, query) for query in asked]
        for part in self._parts:
            candidates, counted = self._conditions.candidates(part), self._conditions.counted(part)
            if candidates is not None and counted is not None:
                pairs.append((candidates, counted))
        return pairs[:ASKED_PARTS]

    def _tested(self, few: Sequence[int], after: Key | None, limit: int) -> Found:
        ordering = self._question.ordering
        query = self._keys(few) if ordering.metric is None else self._measured(few, ordering.metric)
        keys = [tuple(row) for row in self._connection.execute(query) if row[0] is not None]
        left = [each for each in keys if after is None or ordering.passed(each, after)]
        page = ordering.sorted(left)[:limit]
        return Found(page, page[-1] if len(left) > limit else None)

    def _keys(self, few: Sequence[int]) -> sa.Select[Any]:
        place, key, given = self._question.ordering.place(self._dialect)
        return sa.select(*key).where(*given, among(self._connection, place.c.seq, few), *self._wanted(place))

    def _measured(self, few: Sequence[int], metric: str) -> sa.Select[Any]:
        """The keys by a metric, NULL for a version without it. Looked up one by one: of a list of numbers beside the
        metric's name a database may as well make a way through all versions that have it."""
        place, of = listed(self._connection, few), version_metrics
        value = sa.select(of.c.value).where(of.c.seq == place.c.seq, of.c.name == metric).scalar_subquery()
        return sa.select(value, place.c.seq).where(*self._wanted(place))

    # a walk along the order's index

    def _walk(self, after: Key | None, limit: int) -> Found:
        ordering = self._question.ordering
        place, key, given = self._place()
        wanted = self._wanted(place)
        if after is not None:
            given.append(_beyond(key, after, descending=ordering.descending))
        order = [column.desc() if ordering.descending else column.asc() for column in key]
        along = sa.select(*key).select_from(place).where(*given).order_by(*order)
        last = self._connection.execute(along.limit(1).offset(self._steps())).first() if wanted else None
        within = along if last is None else along.where(_up_to(key, tuple(last), descending=ordering.descending))
        rows = self._connection.execute(within.where(*wanted).limit(limit + 1))
        keys: list[Key] = [tuple(row) for row in rows]
        if len(keys) > limit:
            return Found(keys[:limit], keys[limit - 1])
        return Found(keys, tuple(last) if last is not None else None)

    def _place(self) -> Place:
        """What is walked: the order's index, without what the index itself can leave out."""
        if self._walks_words:
            return version_words, [key_of(self._dialect)], [self._match] if self._match is not None else []
        place, key, given = self._question.ordering.place(self._dialect)
        named = [part for part in self._parts if isinstance(part, Comparison) and part.field.kind == "model_id"]
        if self._question.ordering.metric is None:
            given = [*given, *[place.c.model_id == part.values[0] for part in named if part.operator == "="][:1]]
        return place, key, given

    @property
    def _walks_words(self) -> bool:
        """Whether the index of words is itself in the wanted order, as that of SQLite is by `seq`."""
        newest = self._question.ordering.what == "registered_at"
        return newest and self._dialect == "sqlite" and self._match is not None

    def _steps(self) -> int:
        ordering = self._question.ordering
        cost = 1 + sum(
            cost_of(part, looks_up=ordering.what != "registered_at" or not self._reads_facts) for part in self._parts
        )
        return max(WALK // (cost + (PROBE_COST if self._match is not None else 0)), 1000)

    # both

    @property
    def _reads_facts(self) -> bool:
        """Whether what is walked has the columns that filters compare at hand; in SQLite only one index has."""
        ordering = self._question.ordering
        if self._dialect == "sqlite":
            return ordering.what == "registered_at" and not self._walks_words
        return ordering.metric is None

    def _wanted(self, place: sa.FromClause) -> list[sa.ColumnElement[bool]]:
        """What the versions at `place` must fulfil, what is quickly looked at first.

        On SQLite it is under a cast: of the conditions alone it takes one that has an index, reads all that fulfil it,
        and sorts them, where the order was to be walked.
        """
        reads_facts = self._reads_facts and place is not version_words
        parts = sorted(self._parts, key=lambda part: cost_of(part, looks_up=not reads_facts))
        whole = And(tuple(parts)) if parts else None
        seq: Any = key_of(self._dialect) if place is version_words else place.c.seq
        wanted: list[sa.ColumnElement[bool]] = []
        if whole is not None:
            wanted.append(self._conditions.condition(whole, seq, place if reads_facts else None))
        if self._match is not None and place is not version_words:
            wanted.append(self._found_by_text(seq))
        if self._question.prefixes:
            each = versions.alias("mine")
            mine = looked_up(visible(self._question.prefixes, each.c.model_id), each.c.seq == seq)
            wanted.append(visible(self._question.prefixes, place.c.model_id) if reads_facts else mine)
        if self._dialect == "sqlite" and wanted:
            return [sa.cast(sa.and_(*wanted), sa.Boolean)]
        return wanted

    def _found_by_text(self, seq: Any) -> sa.ColumnElement[bool]:
        key = key_of(self._dialect)
        assert self._match is not None
        if self._dialect == "sqlite":  # under a cast, so that the order is walked and not this list
            return sa.cast(seq.in_(sa.select(key).select_from(version_words).where(self._match)), sa.Boolean)
        return looked_up(self._match, key == seq)


def _beyond(key: Sequence[Any], position: Key, *, descending: bool) -> sa.ColumnElement[bool]:
    mine, other = sa.tuple_(*key), sa.tuple_(*position)
    return mine < other if descending else mine > other


def _up_to(key: Sequence[Any], position: Key, *, descending: bool) -> sa.ColumnElement[bool]:
    mine, other = sa.tuple_(*key), sa.tuple_(*position)
    return mine >= other if descending else mine <= other
