"""The unit of work: one transaction that changes the domain and appends the events this causes."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from schemas.base import Message
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.topics import topic_of
from services.kernel import causation
from services.kernel.db import Database, insert_in
from services.kernel.tables import outbox, revisions
from services.kernel.telemetry import current_traceparent

T = TypeVar("T")


class UnitOfWork:
    """What a handler gets: the transaction's connection, the handled envelope, and a way to publish.

    Everything published is written to the outbox in the same transaction, so it is sent if and only if the change is
    committed. Not thread-safe; lives as long as its transaction.
    """

    def __init__(self, connection: sa.Connection, source: str, envelope: Envelope | None = None) -> None:
        self.connection = connection
        self.envelope = envelope
        self._source = source
        self._rows: list[dict[str, Any]] = []

    def now(self) -> datetime:
        """The present, in UTC."""
        return datetime.now(UTC)

    def publish(self, message: Message, *, revision: int | None = None, cause: Envelope | None = None) -> str:
        """Append `message` to the outbox and return its event id.

        `revision` is the entity's, from `next_revision`. The cause is the handled event unless `cause` names another.
        """
        content_type, body = encode(message)
        because = cause or self.envelope
        event_id = new_id()
        envelope = Envelope(
            id=event_id,
            source=self._source,
            type=message.TYPE,
            time=self.now(),
            subject=message.key,
            traceparent=current_traceparent() or (because.traceparent if because else None),
            revision=revision,
            causation_id=because.id if because else None,
            correlation_id=(because.correlation_id or because.id) if because else event_id,
            content_type=content_type,
        )
        headers = [(name, value.decode()) for name, value in to_headers(envelope)]
        self._rows.append(
            {
                "id": event_id,
                "topic": topic_of(type(message)).name,
                "key": message.key,
                "headers": json.dumps(headers),
                "body": body,
                "at": time.time(),
            }
        )
        return event_id

    def next_revision(self, kind: str, entity: str) -> int:
        """Allot the entity's next revision (1, 2, ...); the row stays locked until the transaction ends."""
        statement = _next_revision(self.connection.dialect.name)
        values = {"kind": kind, "entity": entity, "revision": 1}
        return int(self.connection.execute(statement, values).scalar_one())

    def take_rows(self) -> list[dict[str, Any]]:
        """The outbox rows collected so far; the caller writes them."""
        rows, self._rows = self._rows, []
        return rows


class Wakeable(Protocol):
    """Something that wants to know that outbox rows were committed (the relay)."""

    def wake(self) -> None:
        """Rows may wait. Thread-safe."""


class Work:
    """Runs units of work that start outside the bus: from the API, or from a service's own tasks."""

    def __init__(self, db: Database, service: str) -> None:
        self.db = db
        self.source = f"/trimtab/{service}"
        self.relay: Wakeable | None = None

    async def run(self, fn: Callable[[UnitOfWork], T], *, cause: Envelope | None = None) -> T:
        """`fn(uow)` in one transaction on the writer thread; its events are published soon after the commit.

        Their cause is `cause`, or the one that the HTTP request being answered names.
        """
        because = cause or causation.current()
        result = await self.db.write(lambda connection: self.within(connection, fn, because))
        if self.relay is not None:
            self.relay.wake()
        return result

    def within(self, connection: sa.Connection, fn: Callable[[UnitOfWork], T], cause: Envelope | None = None) -> T:
        """`fn(uow)` inside a transaction that the caller holds."""
        uow = UnitOfWork(connection, self.source, cause)
        result = fn(uow)
        rows = uow.take_rows()
        if rows:
            connection.execute(_APPEND, rows)
        return result


_APPEND = outbox.insert()


@cache
def _next_revision(dialect: str) -> sa.Executable:
    """Allots a revision; made once, since making it takes longer than running it."""
    insert = insert_in(dialect, revisions)
    counted = insert.on_conflict_do_update(
        index_elements=["kind", "entity"], set_={"revision": revisions.c.revision + 1}
    )
    return counted.returning(revisions.c.revision)
