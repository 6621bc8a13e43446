"""Events once more: rows of the outbox that its relay sends again, each with the id and the revision it had.

Rows of topics that are kept for ever are never removed from the outbox (`outbox.py`), so what is sent again is all
that was ever said. A consumer that knows an event, or has passed its revision, ignores it; a new topic or a new
consumer gets everything. Order within an entity is kept: the rows are marked in one transaction, and the relay goes by
their numbers.

Of a compacted topic only the newest event of a key is sent again. Older ones after it would let the compaction, until
the newest arrives again, leave an old one as the last: a reader that starts just then would take it for the present.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from schemas.topics import BY_NAME
from services.kernel.tables import outbox

ROWS_READ = 2_000
"""Rows that are held in memory while they are counted."""
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


def count(connection: sa.Connection, selection: Selection) -> list[Replayed]:
    """What `mark` would send again, by topic and type. O(rows of the topics), a page in memory."""
    found: dict[tuple[str, str], Replayed] = {}
    columns = sa.select(outbox.c.topic, outbox.c.headers, outbox.c.at).where(*_conditions(selection))
    for topic, headers, at in connection.execute(columns, execution_options={"yield_per": ROWS_READ}):
        name = match[1] if (match := _TYPE.search(headers)) else ""
        known = found.get((topic, name)) or Replayed(topic, name, 0, at, at)
        found[topic, name] = Replayed(topic, name, known.events + 1, min(known.first, at), max(known.last, at))
    return [found[name] for name in sorted(found)]


def mark(connection: sa.Connection, selection: Selection) -> int:
    """Let the relay send the selected events again; how many that are. Those that were never sent stay as they are."""
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
