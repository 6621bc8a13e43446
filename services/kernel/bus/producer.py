"""The producer: idempotent, in a task of its own behind a bounded buffer.

aiokafka's `send()` was seen to block for 17 s in an outage; here only the pump waits for it, and callers get a future
at once or, when the buffer is full, `Overloaded`.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError, MessageSizeTooLargeError
from prometheus_client import Counter, Gauge

from schemas.envelope import Headers
from services.kernel.bus.connection import client_options
from services.kernel.errors import Overloaded, TooLarge, Unavailable
from services.kernel.settings import Settings
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

SENT = Counter("trimtab_bus_sent_total", "Records acknowledged by the broker", ["topic"])
WAITING = Gauge("trimtab_bus_producer_waiting", "Records in the producer's buffer")
MAX_REQUEST_BYTES = (8 << 20) + (256 << 10)
"""The largest topic's messages, and room for the headers of a dead letter."""


class SendFailed(Unavailable):
    """The broker did not acknowledge the record."""

    code = "send-failed"


@dataclass(slots=True)
class _Pending:
    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    partition: int | None
    done: "asyncio.Future[int]"


class Producer:
    """Sends records in order; connects when the broker is there and keeps trying until then."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        self._settings = settings
        self._client_id = client_id
        self._buffer: deque[_Pending] = deque()
        self._arrived = asyncio.Event()
        self._client: AIOKafkaProducer | None = None
        self.task: asyncio.Task[None] | None = None
        self._in_flight: set[asyncio.Future[int]] = set()

    async def start(self) -> None:
        """Begin to connect in the background; returns at once."""
        self.task = asyncio.create_task(self._run(), name=f"{self._client_id}-producer")

    async def stop(self, timeout_seconds: float = 5.0) -> None:
        """Wait for what was sent, at most `timeout_seconds`; the rest fails with `SendFailed`."""
        waiting = [pending.done for pending in self._buffer] + list(self._in_flight)
        if waiting:
            await asyncio.wait(waiting, timeout=timeout_seconds)
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        for pending in self._buffer:
            _fail(pending.done, SendFailed("the process stopped before the broker acknowledged the record"))
        if self._client is not None:
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._client.stop()
            except (TimeoutError, KafkaError) as error:
                log.warning("producer_stop_incomplete", error=repr(error))

    def send(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: Headers | None = None,
        partition: int | None = None,
    ) -> "asyncio.Future[int]":
        """Queue one record (`topic` without prefix). The future gives its offset or raises `SendFailed`/`TooLarge`.

        Raises `Overloaded` when `producer_buffer` records wait already.
        """
        if len(self._buffer) >= self._settings.producer_buffer:
            raise Overloaded("the producer's buffer is full: the broker is slow or gone", retry_after_seconds=1.0)
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._buffer.append(_Pending(self._settings.topic(topic), key, value, headers or [], partition, done))
        self._arrived.set()
        return done

    @property
    def connected(self) -> bool:
        """Whether the broker has been reached."""
        return self._client is not None

    async def _run(self) -> None:
        self._client = await self._connect()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._buffer:
                await self._send(self._client, self._buffer[0])  # stays in the buffer, so that a stop can fail it
                self._buffer.popleft()
            WAITING.set(len(self._in_flight))

    async def _send(self, client: AIOKafkaProducer, pending: _Pending) -> None:
        try:
            acknowledged = await client.send(
                pending.topic,
                pending.value,
                key=pending.key,
                headers=pending.headers,
                partition=pending.partition,
            )
        except MessageSizeTooLargeError:
            _fail(pending.done, TooLarge(f"the record for {pending.topic} is over {MAX_REQUEST_BYTES} bytes"))
            return
        except (KafkaError, AssertionError) as error:
            _fail(pending.done, SendFailed(f"{pending.topic}: {error!r}"))
            return
        self._in_flight.add(pending.done)
        acknowledged.add_done_callback(lambda future: self._acknowledged(pending, future))

    def _acknowledged(self, pending: _Pending, future: "asyncio.Future[object]") -> None:
        self._in_flight.discard(pending.done)
        if future.cancelled():
            _fail(pending.done, SendFailed("the producer stopped before the broker acknowledged the record"))
        elif (error := future.exception()) is not None:
            oversize = isinstance(error, MessageSizeTooLargeError) or type(error).__name__ == "RecordTooLargeError"
            kind = TooLarge if oversize else SendFailed
            _fail(pending.done, kind(f"{pending.topic}: {error!r}"))
        elif not pending.done.done():
            SENT.labels(pending.topic).inc()
            pending.done.set_result(int(future.result().offset))  # type: ignore[attr-defined]

    async def _connect(self) -> AIOKafkaProducer:
        pause_seconds = 0.1
        while True:
            client = AIOKafkaProducer(
                **client_options(self._settings, self._client_id),
                acks="all",
                enable_idempotence=True,
                linger_ms=2,
                max_batch_size=256 << 10,
                max_request_size=MAX_REQUEST_BYTES,
            )
            try:
                await client.start()
            except (KafkaConnectionError, OSError) as error:
                await client.stop()
                log.warning("broker_not_reached", bootstrap=self._settings.kafka_bootstrap, error=str(error))
                await asyncio.sleep(pause_seconds)
                pause_seconds = min(pause_seconds * 2, 3.0)
                continue
            return client


def _fail(future: "asyncio.Future[int]", error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
        future.exception()  # a caller that no longer waits must not cause "exception was never retrieved"
