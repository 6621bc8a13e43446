"""From a filter's tree to SQL. Every value is bound, every name is ours; nothing that was typed becomes SQL text.

Two things are made of an expression: the *condition* that a version (named by its `seq`) fulfils it, and, where an
index can tell, its *candidates*: a query for a superset of the versions that fulfil it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from services.registry.search.expression import And, Comparison, Expression, Not, Or, Value
from services.registry.search.fields import NAMED
from services.registry.search.index import HEAD
from services.registry.tables import aliases, models, signatures, version_metrics, version_tags, versions

Seq = sa.ColumnElement[int]
Candidates = sa.Select[Any]

_ORDERED: dict[str, Callable[[Any, Any], sa.ColumnElement[bool]]] = {
    "=": lambda column, value: column == value,
    "!=": lambda column, value: column != value,
    "<": lambda column, value: column < value,
    "<=": lambda column, value: column <= value,
    ">": lambda column, value: column > value,
    ">=": lambda column, value: column >= value,
}
_NULLABLE = ("job_id", "experiment_id", "dataset_digest", "parent_version")
_INDEXED = ("model_id", "stage", "job_id", "experiment_id", "dataset_digest")
_FINDABLE = ("=", "in")
_BARELY_INDEXED = ("stage", "job_id", "experiment_id", "dataset_digest")
"""Columns whose index leads to the rows, and has no `seq` itself."""

PROBE_COST, COLUMN_COST = 6, 1
"""What one comparison costs for one version: a look into another table, or at a column."""


class Conditions:
    """Makes conditions in the SQL of one database, at one moment."""

    def __init__(self, dialect: str, now: datetime) -> None:
        self._sqlite = dialect == "sqlite"
        self._now = now

    def condition(self, expression: Expression, seq: Seq, facts: sa.FromClause | None) -> sa.ColumnElement[bool]:
        """That the version `seq` fulfils the expression: true or false, never unknown.

        `facts` is the table of versions, if the query reads it anyway; None: it is looked into for every comparison.
        """
        match expression:
            case And():
                return sa.and_(*(self.condition(part, seq, facts) for part in expression.parts))
            case Or():
                return sa.or_(*(self.condition(part, seq, facts) for part in expression.parts))
            case Not():
                return sa.not_(self.condition(expression.part, seq, facts))
            case Comparison():
                return self._comparison(expression, seq, facts)

    def candidates(self, expression: Expression) -> Candidates | None:
        """A query for the `seq` of every version that fulfils the expression, and maybe of others; None: no index."""
        match expression:
            case And():
                return next(filter(lambda found: found is not None, map(self.candidates, expression.parts)), None)
            case Or():
                parts = [self.candidates(part) for part in expression.parts]
                known = [part for part in parts if part is not None]
                if len(known) < len(parts):
                    return None
                return sa.select(sa.union_all(*known).subquery().c.seq)
            case Not():
                return None
            case Comparison():
                return self._found_by_index(expression)

    def counted(self, expression: Expression) -> Candidates | None:
        """A query with a row for each of the `candidates`, from an index alone where one can count what it cannot name.

        Most parts have too many candidates; reading two thousand rows only to learn that takes long.
        """
        if isinstance(expression, Comparison) and expression.operator in _FINDABLE:
            kind = expression.field.kind
            if kind in _BARELY_INDEXED:
                return sa.select(versions.c[kind]).where(self._compare(versions.c[kind], expression))
        return self.candidates(expression)

    def _comparison(self, term: Comparison, seq: Seq, facts: sa.FromClause | None) -> sa.ColumnElement[bool]:
        if term.field.kind in NAMED:
            of = (version_metrics if term.field.kind == "metrics" else version_tags).alias("named")
            return looked_up(self._compare(of.c.value, term), (of.c.seq == seq) & (of.c.name == term.field.name))
        if facts is not None:
            return self._fact(term, facts)
        each = versions.alias("facts")
        return looked_up(self._fact(term, each), each.c.seq == seq)

    def _fact(self, term: Comparison, facts: sa.FromClause) -> sa.ColumnElement[bool]:
        kind = term.field.kind
        if kind == "alias":
            mine = (aliases.c.model_id == facts.c.model_id) & (aliases.c.version == facts.c.version)
            return _exists(aliases, mine & self._compare(aliases.c.alias, term))
        if kind == "signed":
            mine = (signatures.c.model_id == facts.c.model_id) & (signatures.c.version == facts.c.version)
            wanted = (term.operator == "=") == term.values[0]
            return _exists(signatures, mine) if wanted else sa.not_(_exists(signatures, mine))
        if kind == "version":
            return _numbers(facts, term)
        compared = self._compare(facts.c[kind], term)
        return sa.and_(facts.c[kind].is_not(None), compared) if kind in _NULLABLE else compared

    def _compare(self, column: sa.ColumnElement[Any], term: Comparison) -> sa.ColumnElement[bool]:
        values = [self._bound(value) for value in term.values]
        match term.operator:
            case "exists":
                return column.is_not(None)
            case "in":
                return column.in_(values)
            case "not in":
                return column.not_in(values)
            case "contains":
                return (sa.func.instr if self._sqlite else sa.func.strpos)(column, values[0]) > 0
            case "like" if self._sqlite:
                return column.op("GLOB", is_comparison=True)(as_glob(str(values[0])))
            case "like":
                return column.like(values[0])
            case _:
                return _ORDERED[term.operator](column, values[0])

    def _bound(self, value: Value) -> Any:
        if isinstance(value, timedelta):
            value = self._now - value
        return value.timestamp() if isinstance(value, datetime) else value

    # candidates

    def _found_by_index(self, term: Comparison) -> Candidates | None:
        kind, operator = term.field.kind, term.operator
        if kind == "metrics" and operator not in ("!=", "not in"):
            of = version_metrics
            return sa.select(of.c.seq).where(of.c.name == term.field.name, self._compare(of.c.value, term))
        if kind == "tags" and operator in (*_FINDABLE, "exists"):
            tags = sa.select(version_tags.c.seq).where(version_tags.c.name == term.field.name)
            if operator == "exists":
                return tags
            heads = [str(value)[:HEAD] for value in term.values]
            return tags.where(version_tags.c.head.in_(heads), self._compare(version_tags.c.value, term))
        if (kind in _INDEXED and operator in _FINDABLE) or kind == "registered_at":
            return sa.select(versions.c.seq).where(self._compare(versions.c[kind], term))
        if kind == "version" and operator not in ("!=", "not in"):
            return sa.select(versions.c.seq).where(_numbers(versions, term))
        if kind == "alias" and operator in _FINDABLE:
            return _named_versions(aliases).where(self._compare(aliases.c.alias, term))
        if kind == "signed" and (operator == "=") == term.values[0]:
            return _named_versions(signatures)
        return None


def visible(prefixes: Sequence[str], model_id: sa.ColumnElement[str]) -> sa.ColumnElement[bool]:
    """That a model's id begins with one of `prefixes`."""
    ids = sa.or_(*(sa.func.substr(models.c.id, 1, len(prefix)) == prefix for prefix in prefixes))
    return model_id.in_(sa.select(models.c.id).where(ids))


def cost_of(expression: Expression, *, looks_up: bool) -> int:
    """What it costs to test one version, in looks at a column; `looks_up`: the version's row itself is looked up."""
    cheap = PROBE_COST if looks_up else COLUMN_COST
    kinds = (term.field.kind for term in terms_of(expression))
    return sum(cheap if kind in versions.c and kind not in NAMED else PROBE_COST for kind in kinds)


def terms_of(expression: Expression) -> Iterator[Comparison]:
    """Every comparison in an expression."""
    match expression:
        case Comparison():
            yield expression
        case Not():
            yield from terms_of(expression.part)
        case _:
            for part in expression.parts:
                yield from terms_of(part)


def as_glob(pattern: str) -> str:
    r"""A `like` pattern as SQLite's GLOB, which tells upper from lower case as PostgreSQL's LIKE does.

    >>> as_glob(r"50\% of_*")
    '50% of?[*]'
    """
    signs = {"%": "*", "_": "?"}
    pieces = re.findall(r"\\.|.", pattern, re.DOTALL)
    return "".join(
        signs[piece] if piece in signs else f"[{piece[-1]}]" if piece[-1] in "*?[" else piece[-1] for piece in pieces
    )


def _numbers(facts: sa.FromClause, term: Comparison) -> sa.ColumnElement[bool]:
    numbers = sa.tuple_(facts.c.major, facts.c.minor, facts.c.patch)
    if term.operator in ("in", "not in"):
        equal = [_equal(facts, value) for value in term.values]
        return sa.or_(*equal) if term.operator == "in" else sa.not_(sa.or_(*equal))
    if term.operator in ("=", "!="):
        equal_one = _equal(facts, term.values[0])
        return equal_one if term.operator == "=" else sa.not_(equal_one)
    return _ORDERED[term.operator](numbers, sa.tuple_(*_three(term.values[0])))


def _equal(facts: sa.FromClause, value: Value) -> sa.ColumnElement[bool]:
    major, minor, patch = _three(value)
    return sa.and_(facts.c.major == major, facts.c.minor == minor, facts.c.patch == patch)


def _three(value: Value) -> tuple[int, int, int]:
    assert isinstance(value, tuple)
    return value


def looked_up(condition: sa.ColumnElement[bool], row: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    """That the one `row` of a table, if there is one, fulfils the condition.

    A scalar subquery: databases turn EXISTS into a join of their own choice, whose cost has no bound, but look this up.
    """
    return sa.func.coalesce(sa.select(condition.label("holds")).where(row).scalar_subquery(), sa.false())


def _exists(table: sa.FromClause, condition: sa.ColumnElement[bool]) -> sa.ColumnElement[bool]:
    return sa.exists(sa.select(sa.literal(1)).select_from(table).where(condition))


def _named_versions(table: sa.Table) -> Candidates:
    """The `seq` of the versions that the rows of `table` name."""
    mine = (versions.c.model_id == table.c.model_id) & (versions.c.version == table.c.version)
    return sa.select(sa.select(versions.c.seq).where(mine).scalar_subquery().label("seq")).select_from(table)
