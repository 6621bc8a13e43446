"""The events of the installation as one stream for many readers, each behind a bounded buffer of its own."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from services.kernel.bus.record import Record
from services.kernel.bus.tail import follow
from services.kernel.errors import Overloaded, Unavailable, Undecodable
from services.kernel.telemetry import get_logger
from trimtab.ui.settings import UiSettings

log = get_logger(__name__)

TOPICS = ("training-events", "model-events", "deployments", "drift-signals", "loop-events")
LONGEST_PAUSE_SECONDS = 5.0
POLL_SECONDS = 0.5
"""How often an idle stream looks whether the process is stopping."""


@dataclass(frozen=True, slots=True)
class FeedEvent:
    """One event; `id` is its address `topic/partition/offset`, where a reader goes on after a break."""

    id: str
    topic: str
    type: str
    model_id: str | None
    document: dict[str, Any]


def to_event(record: Record) -> FeedEvent | None:
    """The event of a record, None for one that can't be read."""
    try:
        envelope, message = record.message()
    except Undecodable as error:
        log.warning("event_unreadable", topic=record.topic, offset=record.offset, error=error.detail)
        return None
    data = message.model_dump(mode="json", by_alias=True, exclude_none=True)
    job = data.get("job") or {}
    return FeedEvent(
        id=f"{record.topic}/{record.partition}/{record.offset}",
        topic=record.topic,
        type=envelope.type,
        model_id=data.get("model_id") or job.get("model_id") or job.get("model_type"),
        document={
            "topic": record.topic,
            "id": envelope.id,
            "type": envelope.type,
            "time": envelope.time.isoformat(),
            "causation_id": envelope.causation_id,
            "correlation_id": envelope.correlation_id,
            "data": data,
        },
    )


class Subscription:
    """One reader's place in the stream."""

    def __init__(self, buffer: int) -> None:
        self.queue: asyncio.Queue[FeedEvent] = asyncio.Queue(buffer)
        self.overflowed = False

    def offer(self, event: FeedEvent) -> None:
        """Queue an event; a reader that is too slow has `overflowed` and gets no more."""
        if self.overflowed:
            return
        try:
            self.queue.put_nowait(event)
        except asyncio.QueueFull:
            self.overflowed = True


class Feed:
    """A part of the page's process: follows the topics once, for all readers."""

    def __init__(self, settings: UiSettings) -> None:
        self._settings = settings
        self._history: deque[FeedEvent] = deque(maxlen=settings.ui_event_history)
        self._readers: set[Subscription] = set()
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow, in the background."""
        self.task = asyncio.create_task(self._run(), name="event-feed")

    async def stop(self) -> None:
        """Stop following."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    def subscribe(self, last_event_id: str | None = None) -> Subscription:
        """A new reader, who first gets what came after `last_event_id` if that is still known.

        Raises `Overloaded` when there are too many readers.
        """
        if len(self._readers) >= self._settings.ui_event_clients:
            raise Overloaded("too many event streams are open: see TRIMTAB_UI_EVENT_CLIENTS", retry_after_seconds=10)
        subscription = Subscription(self._settings.ui_event_buffer)
        known = [event.id for event in self._history]
        if last_event_id in known:
            for event in list(self._history)[known.index(last_event_id) + 1 :]:
                subscription.offer(event)
        self._readers.add(subscription)
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Forget a reader."""
        self._readers.discard(subscription)

    def recent(self) -> list[FeedEvent]:
        """The latest events, the oldest first."""
        return list(self._history)

    def publish(self, event: FeedEvent) -> None:
        """Give one event to every reader."""
        self._history.append(event)
        for reader in self._readers:
            reader.offer(event)

    async def _run(self) -> None:
        pause_seconds = 0.2
        while True:
            try:
                async for record in follow(self._settings, TOPICS):
                    pause_seconds = 0.2
                    event = to_event(record)
                    if event is not None:
                        self.publish(event)
            except Unavailable as error:
                log.warning("event_feed_waits", error=error.detail, seconds=pause_seconds)
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, LONGEST_PAUSE_SECONDS)


async def events_of(
    feed: Feed,
    subscription: Subscription,
    topics: frozenset[str],
    model_id: str | None,
    heartbeat_seconds: float,
    stopping: Callable[[], bool],
) -> AsyncIterator[FeedEvent | None]:
    """The events that a reader wants; None when nothing came for `heartbeat_seconds`.

    Ends when the reader was too slow for its buffer, or when the process is `stopping`.
    """
    loop = asyncio.get_running_loop()
    last = loop.time()
    try:
        while not stopping() and not (subscription.overflowed and subscription.queue.empty()):
            try:
                async with asyncio.timeout(min(heartbeat_seconds, POLL_SECONDS)):
                    event = await subscription.queue.get()
            except TimeoutError:
                if loop.time() - last >= heartbeat_seconds:
                    last = loop.time()
                    yield None
                continue
            if (not topics or event.topic in topics) and model_id in (None, event.model_id):
                last = loop.time()
                yield event
    finally:
        feed.unsubscribe(subscription)
