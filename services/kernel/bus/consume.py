"""The consume loop: from a topic to one effect per event and a committed offset.

Per partition in order, partitions beside each other. A chunk of records is one transaction (`inbox.py`), then the
offset is committed. A retriable failure pauses its partition and tries again with bounded, jittered backoff, heartbeats
alive; a record that fails otherwise, or too often, goes to the dead-letter topic, and only then is its offset
committed. A database that does not answer is nobody's fault: it is waited for without bound.
"""

import asyncio
import random
from collections.abc import Mapping

import sqlalchemy as sa
from prometheus_client import Counter

from schemas.base import Message
from schemas.topics import topic_of
from services.kernel.bus.dead_letters import bury
from services.kernel.bus.group import GroupMember, Progress
from services.kernel.bus.inbox import Failure, Handler, Inbox, Outcome
from services.kernel.bus.producer import Producer
from services.kernel.bus.record import Partition, Record
from services.kernel.db import Database, DatabaseUnavailable
from services.kernel.errors import Unavailable
from services.kernel.failpoints import failpoint
from services.kernel.settings import Settings
from services.kernel.telemetry import context_of, get_logger, tracer
from services.kernel.uow import Work

log = get_logger(__name__)

BURIED = Counter("trimtab_bus_dead_letters_total", "Records sent to a dead-letter topic", ["group", "topic"])
PRUNE_EVERY_POLLS = 20_000


class ConsumeLoop(GroupMember):
    """Handles every message type in `handlers`; the topics follow from the types."""

    def __init__(
        self,
        settings: Settings,
        group: str,
        handlers: Mapping[type[Message], Handler],
        *,
        work: Work,
        producer: Producer,
    ) -> None:
        super().__init__(settings, group, sorted({topic_of(kind).name for kind in handlers}))
        self.poll_records = settings.consume_batch * 16
        self._db: Database = work.db
        self._work = work
        self._producer = producer
        self._inbox = Inbox(group, work.source, handlers, work.db)
        self._tries: dict[Partition, tuple[int, int]] = {}
        self._polls = 0

    async def process(self, batches: Mapping[Partition, list[Record]]) -> Mapping[Partition, Progress]:
        """Handle all partitions of a poll beside each other."""
        self._polls += 1
        if self._polls % PRUNE_EVERY_POLLS == 1:
            await self._prune()
        steps = await asyncio.gather(*(self._partition(p, records) for p, records in batches.items()))
        failpoint("consume-before-commit")
        if self._work.relay is not None:
            self._work.relay.wake()
        return dict(zip(batches, steps, strict=True))

    async def _partition(self, partition: Partition, records: list[Record]) -> Progress:
        place = records[0].offset
        size = self.settings.consume_batch
        for start in range(0, len(records), size):
            chunk = records[start : start + size]
            try:
                outcome = await self._chunk(chunk)
                for failure in outcome.dead:
                    await self._bury(failure)
            except Unavailable as error:
                pause = self._pause(partition, place)
                log.warning("partition_waits", partition=str(partition), error=str(error), seconds=round(pause, 2))
                return Progress(place, pause)
            if outcome.retry is not None:
                return await self._again(partition, outcome.retry)
            place = chunk[-1].offset + 1
        return Progress(place)

    async def _chunk(self, chunk: list[Record]) -> Outcome:
        parent = chunk[0].header("ce_traceparent")
        with tracer().start_as_current_span(
            f"consume {chunk[0].topic}", context=context_of(parent.decode(errors="replace") if parent else None)
        ):
            outcome = await self._db.write(lambda connection: self._handle(connection, chunk))
        failpoint("consume-after-commit")
        return outcome

    def _handle(self, connection: sa.Connection, chunk: list[Record]) -> Outcome:
        outcome = self._inbox.handle(connection, chunk)
        failpoint("consume-in-transaction")
        return outcome

    async def _again(self, partition: Partition, failure: Failure) -> Progress:
        """Pause and try again; a record that has used up its tries is buried and stepped over."""
        offset, tries = self._tries.get(partition, (-1, 0))
        tries = tries + 1 if offset == failure.record.offset else 1
        if tries >= self.settings.retry_attempts:
            try:
                await self._bury(failure)
            except Unavailable as error:
                log.warning("partition_waits", partition=str(partition), error=str(error))
                return Progress(failure.record.offset, self._backoff(tries))
            self._tries.pop(partition, None)
            return Progress(failure.record.offset + 1)
        self._tries[partition] = (failure.record.offset, tries)
        pause = self._backoff(tries)
        log.warning(
            "record_retried",
            group=self.group,
            topic=failure.record.topic,
            offset=failure.record.offset,
            tries=tries,
            seconds=round(pause, 2),
            error=str(failure.error),
        )
        return Progress(failure.record.offset, pause)

    async def _bury(self, failure: Failure) -> None:
        await bury(self._producer, self.group, failure)
        BURIED.labels(self.group, failure.record.topic).inc()
        log.error(
            "record_buried",
            group=self.group,
            topic=failure.record.topic,
            partition=failure.record.partition,
            offset=failure.record.offset,
            error=repr(failure.error),
            remedy="trimtab dlq list",
        )

    def _pause(self, partition: Partition, place: int) -> float:
        offset, tries = self._tries.get(partition, (-1, 0))
        tries = tries + 1 if offset == place else 1
        self._tries[partition] = (place, min(tries, self.settings.retry_attempts - 1))
        return self._backoff(tries)

    def _backoff(self, tries: int) -> float:
        settings = self.settings
        ceiling = min(settings.retry_first_seconds * 2 ** (tries - 1), settings.retry_max_seconds)
        return float(ceiling * random.uniform(0.5, 1.0))

    async def _prune(self) -> None:
        try:
            await self._db.write(lambda connection: self._inbox.prune(connection, self.settings.inbox_days))
        except DatabaseUnavailable as error:
            log.warning("inbox_not_pruned", error=str(error))
