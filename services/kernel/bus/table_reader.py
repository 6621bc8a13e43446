"""A compacted topic as a table: read whole at the start, followed ever after. For processes without a database."""

import asyncio
from collections.abc import Callable

from aiokafka.errors import KafkaError

from schemas.base import Message
from schemas.envelope import Envelope
from services.kernel.bus.connection import to_record
from services.kernel.bus.cursor import Cursor
from services.kernel.bus.record import Record
from services.kernel.bus.tail import assign_all, open_consumer
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.settings import Settings
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

OnMessage = Callable[[str, Message | None, Envelope | None], None]
"""`(key, message, envelope)`; a tombstone has only the key. Called on the event loop: may not block."""


class TableReader:
    """Feeds `on_message` with the newest message of every key; older revisions of a key are ignored.

    `caught_up` is set once everything that was in the topic at the start has been seen.
    """

    def __init__(self, settings: Settings, topic: str, on_message: OnMessage) -> None:
        self._settings = settings
        self._topic = topic
        self._on_message = on_message
        self._revisions: dict[str, int] = {}
        self.task: asyncio.Task[None] | None = None
        self.caught_up = asyncio.Event()

    async def start(self) -> None:
        """Begin to read in the background."""
        self.task = asyncio.create_task(self._run(), name=f"table-{self._topic}")

    async def stop(self) -> None:
        """Stop following."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    def ready(self) -> str | None:
        """None once caught up, else what is waited for."""
        return None if self.caught_up.is_set() else f"reading the topic {self._topic}"

    async def _run(self) -> None:
        pause_seconds = 0.2
        while True:
            try:
                await self._read()
            except (Unavailable, KafkaError, OSError) as error:
                log.warning("table_waits", topic=self._topic, error=str(error), seconds=pause_seconds)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 5.0)

    async def _read(self) -> None:
        consumer = await open_consumer(self._settings, f"trimtab-table-{self._topic}")
        try:
            partitions = await assign_all(consumer, [self._settings.topic(self._topic)])
            ends = await consumer.end_offsets(partitions)
            cursor = Cursor(consumer, await consumer.beginning_offsets(partitions))
            while True:
                if not self.caught_up.is_set() and await cursor.reached(ends):
                    self.caught_up.set()
                for raw in await cursor.poll(timeout_ms=500):
                    self._apply(to_record(raw, self._settings.topic_prefix))
        finally:
            await consumer.stop()

    def _apply(self, record: Record) -> None:
        key = (record.key or b"").decode(errors="replace")
        if record.value is None:
            self._on_message(key, None, None)  # its revision stays known: an older duplicate may not bring it back
            return
        try:
            envelope, message = record.message()
        except TrimtabError as error:
            log.error("table_record_unreadable", topic=self._topic, offset=record.offset, error=error.detail)
            return
        if envelope.revision is not None:
            if envelope.revision <= self._revisions.get(key, -1):
                return
            self._revisions[key] = envelope.revision
        self._on_message(key, message, envelope)
