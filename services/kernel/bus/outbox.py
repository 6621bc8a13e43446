"""The relay: publishes committed outbox rows and marks them.

Rows are read by "not yet published", never by "id greater than the last" (PostgreSQL sequences commit out of order).
One relay a service, held by a lease; a zombie is harmless since consumers know every event id and revision.

Rows of topics that are kept for ever stay in the outbox for ever too: they are the log that `replay.py` sends again.
"""

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import prometheus_client as metrics
import sqlalchemy as sa

from schemas.topics import TOPICS
from services.kernel import lease
from services.kernel.bus.producer import Producer, SendFailed
from services.kernel.db import Database, DatabaseUnavailable
from services.kernel.errors import Overloaded, TooLarge
from services.kernel.failpoints import failpoint
from services.kernel.tables import idempotency, outbox
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

BATCH = 500
LEASE_NAME = "outbox-relay"
LEASE_SECONDS = 10.0
POLL_SECONDS = 1.0
GATHER_SECONDS = 0.02
"""Pause after something was published: what is committed meanwhile is published together, in two transactions for all
of it. What comes after a quiet time is published at once."""
KEEP_SECONDS = 7 * 24 * 3600.0
PRUNE_EVERY_SECONDS = 600.0
PRUNE_ROWS = 5_000
"""Rows that one transaction removes: none holds the writer up for long."""
KEPT_TOPICS = tuple(topic.name for topic in TOPICS if topic.kept_for_ever)

PUBLISHED = metrics.Counter("trimtab_outbox_published_total", "Outbox rows published")
PARKED = metrics.Counter("trimtab_outbox_parked_total", "Outbox rows too large to publish, kept aside")
OLDEST = metrics.Gauge("trimtab_outbox_oldest_seconds", "Age of the oldest outbox row that waits")


class Relay:
    """Moves rows from the outbox to Kafka until stopped."""

    def __init__(self, db: Database, producer: Producer) -> None:
        self._db = db
        self._producer = producer
        self._holder = uuid.uuid4().hex
        self._woken = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.task: asyncio.Task[None] | None = None
        self._pruned_at = 0.0
        self._pruned_to = 0

    async def start(self) -> None:
        """Begin relaying in the background."""
        self._loop = asyncio.get_running_loop()
        self.task = asyncio.create_task(self._run(), name="outbox-relay")

    async def stop(self) -> None:
        """Publish what is committed, once more, and give the lease back."""
        if self.task is None:
            return
        self.task.cancel()
        await asyncio.wait([self.task])
        try:
            if self._producer.connected:
                async with asyncio.timeout(5.0):
                    await self._drain()
            await self._db.write(lambda connection: lease.release(connection, LEASE_NAME, self._holder))
        except (DatabaseUnavailable, SendFailed, Overloaded, TimeoutError) as error:
            log.warning("outbox_not_drained", error=repr(error))

    def wake(self) -> None:
        """Rows may wait. Thread-safe."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._woken.set)

    async def _run(self) -> None:
        pause_seconds = POLL_SECONDS
        while True:
            try:
                if await self._drain():
                    await asyncio.sleep(GATHER_SECONDS)
                await self._prune()
                pause_seconds = POLL_SECONDS
            except (DatabaseUnavailable, SendFailed, Overloaded) as error:
                log.warning("outbox_waits", error=str(error), seconds=pause_seconds)
                pause_seconds = min(pause_seconds * 2, 10.0)
            try:
                async with asyncio.timeout(pause_seconds):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await self._woken.wait()
            except TimeoutError:
                continue
            finally:
                self._woken.clear()

    async def _drain(self) -> bool:
        """Publish all that waits; whether there was anything."""
        drained = False
        while rows := await self._db.write(self._claim):
            OLDEST.set(time.time() - rows[0].at)
            await self._publish(rows)
            drained = True
            if len(rows) < BATCH:
                break
        else:
            OLDEST.set(0.0)
        return drained

    def _claim(self, connection: sa.Connection) -> list[Any]:
        statement = (
            sa.select(outbox)
            .where(outbox.c.published_at.is_(None), outbox.c.parked.is_(None))
            .order_by(outbox.c.seq)
            .limit(BATCH)
        )
        rows = list(connection.execute(statement))
        if not rows:
            return []
        held = lease.acquire(connection, LEASE_NAME, self._holder, LEASE_SECONDS, spare_seconds=LEASE_SECONDS / 2)
        return rows if held is not None else []

    async def _publish(self, rows: list[Any]) -> None:
        results: dict[int, int | BaseException] = {}
        held: set[tuple[str, str]] = set()
        for together in _rounds(rows):
            ready = [row for row in together if (row.topic, row.key) not in held]
            answers = await asyncio.gather(*map(self._send, ready), return_exceptions=True)
            results |= {row.seq: answer for row, answer in zip(ready, answers, strict=True)}
            held |= {(row.topic, row.key) for row in ready if not isinstance(results[row.seq], int | TooLarge)}
        failpoint("relay-after-produce")
        sent = [seq for seq, result in results.items() if isinstance(result, int)]
        large = [seq for seq, result in results.items() if isinstance(result, TooLarge)]
        await self._db.write(lambda connection: _mark(connection, sent, large))
        PUBLISHED.inc(len(sent))
        PARKED.inc(len(large))
        for seq in large:
            log.error("event_parked", seq=seq, reason="larger than the broker takes")
        for result in results.values():
            if isinstance(result, BaseException) and not isinstance(result, TooLarge):
                raise result

    async def _send(self, row: Any) -> int:
        headers = [(name, value.encode()) for name, value in json.loads(row.headers)]
        return await self._producer.send(row.topic, row.body, key=row.key.encode(), headers=headers)

    async def _prune(self) -> None:
        if time.monotonic() - self._pruned_at < PRUNE_EVERY_SECONDS:
            return
        self._pruned_at = time.monotonic()
        before = time.time() - KEEP_SECONDS
        await self._db.write(lambda connection: _forget_keys(connection, before))
        from_seq: int | None = self._pruned_to
        while from_seq is not None:
            rows = await self._db.read(partial(_outlived, before=before, from_seq=from_seq))
            if rows:
                await self._db.write(partial(_forget, rows=rows))
            from_seq = rows[-1] + 1 if len(rows) == PRUNE_ROWS else None
        self._pruned_to = await self._db.read(partial(_first_to_outlive, from_seq=self._pruned_to))


def _rounds(rows: Sequence[Any]) -> list[list[Any]]:
    """Rows that may be sent together: of one entity's revisions one a round, so that none overtakes one that fails.

    A revision that arrives after a later one would be without effect, hence lost. Rows without a revision share the
    first round.
    """
    rounds: list[list[Any]] = [[]]
    seen: Counter[tuple[str, str]] = Counter()
    for row in rows:
        turn = 0
        if '"ce_revision"' in row.headers:
            turn = seen[row.topic, row.key]
            seen[row.topic, row.key] += 1
        if turn == len(rounds):
            rounds.append([])
        rounds[turn].append(row)
    return rounds


def _outlived(connection: sa.Connection, before: float, from_seq: int) -> list[int]:
    """The first `PRUNE_ROWS` rows from `from_seq` on that were published before `before` and are not kept for ever."""
    old = _passing(from_seq).where(outbox.c.published_at < before)
    return list(connection.execute(old.order_by(outbox.c.seq).limit(PRUNE_ROWS)).scalars())


def _first_to_outlive(connection: sa.Connection, from_seq: int) -> int:
    """The number of the first row that will be forgotten one day: the next look need not begin before it.

    So the rows that are kept for ever are passed over once in the life of a process, not every ten minutes.
    """
    first = connection.execute(_passing(from_seq).order_by(outbox.c.seq).limit(1)).scalar()
    if first is not None:
        return int(first)
    last = connection.execute(sa.select(sa.func.max(outbox.c.seq))).scalar()
    return max(from_seq, int(last or 0) + 1)


def _passing(from_seq: int) -> sa.Select[Any]:
    return sa.select(outbox.c.seq).where(
        outbox.c.seq >= from_seq, outbox.c.topic.not_in(KEPT_TOPICS), outbox.c.parked.is_(None)
    )


def _forget(connection: sa.Connection, rows: list[int]) -> None:
    connection.execute(outbox.delete().where(outbox.c.seq.in_(rows)))


def _forget_keys(connection: sa.Connection, before: float) -> None:
    connection.execute(idempotency.delete().where(idempotency.c.at < before))


def _mark(connection: sa.Connection, sent: list[int], large: list[int]) -> None:
    if sent:
        connection.execute(outbox.update().where(outbox.c.seq.in_(sent)).values(published_at=time.time()))
    if large:
        connection.execute(outbox.update().where(outbox.c.seq.in_(large)).values(parked="too-large"))
