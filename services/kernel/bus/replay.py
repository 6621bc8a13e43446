"""Events once more: rows of the outbox that its relay sends again, each with the id and the revision it had.

Rows of topics that are kept for ever are never removed from the outbox (`outbox.py`), so what is sent again is all
that was ever said. A consumer that knows an event, or has passed its revision, ignores it; a new topic or a new
consumer gets everything.

Order within an entity is kept, since the relay goes by the rows' numbers, and all rows of an entity are marked in one
transaction: no new event of it can come before the old ones. Entities are marked a portion at a time, so that nobody
else waits long for the writer.

Of a compacted topic only the newest event of a key is sent again. Older ones after it would let the compaction, until
the newest arrives again, leave an old one as the last: a reader that starts just then would take it for the present.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from schemas.topics import BY_NAME
from services.kernel.tables import outbox

ROWS_READ = 2_000
"""Rows that are held in memory while they are counted."""
PORTION_ROWS = 2_000
"""Rows from which on no further entity is marked in the same transaction."""
_TYPE = re.compile(r'"ce_type", "([^"]*)"')


@dataclass(frozen=True)
class Selection:
    """Which events: of these topics; with `key`, of this entity only; with `since` (seconds since 1970), not older."""

    topics: Sequence[str]
    key: str | None = None
    since: float | None = None


@dataclass(frozen=True)
class Replayed:
    """How many events of one type, and when the first and the last of them were published (seconds since 1970)."""

    topic: str
    type: str
    events: int
    first: float
    last: float


@dataclass
class Portion:
    """Rows of some entities, all that each of them has. `last_seq` is the newest row that was there when they were
    looked up."""

    last_seq: int
    keys: set[tuple[str, str]] = field(default_factory=set)
    rows: dict[int, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """What there is to send again, by topic and type, and the portions in which it is marked."""

    replayed: list[Replayed]
    portions: list[Portion]


def plan(connection: sa.Connection, selection: Selection) -> Plan:
    """Look up what `selection` means. O(rows of the topics); two numbers and a key a row in memory."""
    last_seq = int(connection.execute(sa.select(sa.func.max(outbox.c.seq))).scalar() or 0)
    found: dict[tuple[str, str], Replayed] = {}
    entities: dict[tuple[str, str], list[int]] = {}
    columns = sa.select(outbox.c.seq, outbox.c.topic, outbox.c.key, outbox.c.headers, outbox.c.at)
    query = columns.where(*_conditions(selection)).order_by(outbox.c.seq)
    for seq, topic, key, headers, at in connection.execute(query, execution_options={"yield_per": ROWS_READ}):
        name = match[1] if (match := _TYPE.search(headers)) else ""
        known = found.get((topic, name)) or Replayed(topic, name, 0, at, at)
        found[topic, name] = Replayed(topic, name, known.events + 1, min(known.first, at), max(known.last, at))
        entities.setdefault((topic, key), []).append(seq)
    portions: list[Portion] = []
    for entity, rows in entities.items():
        if not portions or len(portions[-1].rows) >= PORTION_ROWS:
            portions.append(Portion(last_seq))
        portions[-1].keys.add(entity)
        portions[-1].rows |= dict.fromkeys(rows, entity)
    return Plan([found[name] for name in sorted(found)], portions)


def mark_portion(connection: sa.Connection, portion: Portion) -> int:
    """Let the relay send the rows of a portion again, and what its entities have said since; how many that are."""
    since = sa.select(outbox.c.seq, outbox.c.topic, outbox.c.key).where(outbox.c.seq > portion.last_seq)
    newer = [row for row in connection.execute(since) if (row.topic, row.key) in portion.keys]
    said_since = {(row.topic, row.key) for row in newer}
    overtaken = {entity for entity in said_since if BY_NAME[entity[0]].compacted}
    rows = [seq for seq, entity in portion.rows.items() if entity not in overtaken]
    rows += [row.seq for row in newer if (row.topic, row.key) not in overtaken]
    marked = 0
    for start in range(0, len(rows), ROWS_READ):
        some = outbox.c.seq.in_(rows[start : start + ROWS_READ]) & outbox.c.published_at.is_not(None)
        marked += connection.execute(outbox.update().where(some).values(published_at=None)).rowcount
    return marked


def mark(connection: sa.Connection, selection: Selection) -> int:
    """Let the relay send the selected events again, all in the caller's transaction; how many that are. Those that were
    never sent stay as they are."""
    marked = connection.execute(outbox.update().where(*_conditions(selection)).values(published_at=None))
    return marked.rowcount


def _conditions(selection: Selection) -> Iterator[sa.ColumnElement[bool]]:
    yield outbox.c.published_at.is_not(None)
    yield sa.or_(sa.false(), *map(_of_topic, selection.topics))
    if selection.key is not None:
        yield outbox.c.key == selection.key
    if selection.since is not None:
        yield outbox.c.at >= selection.since


def _of_topic(topic: str) -> sa.ColumnElement[bool]:
    if not BY_NAME[topic].compacted:
        return outbox.c.topic == topic
    same = outbox.alias()
    newest = sa.select(sa.func.max(same.c.seq)).where(same.c.topic == topic, same.c.parked.is_(None))
    return outbox.c.seq.in_(newest.group_by(same.c.key))
