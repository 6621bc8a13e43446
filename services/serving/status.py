"""What this replica really serves, told on the compacted topic `deployment-status`."""

import asyncio
import uuid
from datetime import UTC, datetime

from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import ReplicaStatus
from schemas.topics import topic_of
from services.kernel.bus.producer import Producer
from services.kernel.errors import Overloaded, TrimtabError
from services.kernel.telemetry import get_logger
from services.serving.pool import Pool
from services.serving.settings import ServingSettings

log = get_logger(__name__)

_SETTLE_SECONDS = 0.02


class StatusReporter:
    """Reports on every change, and every few seconds to show that the replica lives. A part of the service."""

    def __init__(self, settings: ServingSettings, pool: Pool, producer: Producer) -> None:
        self._settings = settings
        self._pool = pool
        self._producer = producer
        self._incarnation = uuid.uuid4().hex[:16]
        self._changed = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to report."""
        self._pool.on_change = self._changed.set
        self.task = asyncio.create_task(self._run(), name="status-reporter")

    async def stop(self) -> None:
        """Say that this replica has stopped."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
        if self._producer.connected:
            try:
                async with asyncio.timeout(2.0):
                    await self._send(stopped=True)
            except (TrimtabError, TimeoutError) as error:
                log.warning("stop_not_reported", error=repr(error))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_SETTLE_SECONDS)  # several changes of one moment make one report
            self._changed.clear()
            try:
                await self._send(stopped=False)
            except TrimtabError as error:
                log.warning("status_not_reported", error=error.detail)
            try:
                async with asyncio.timeout(self._settings.serving_status_seconds):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _send(self, *, stopped: bool) -> None:
        status = ReplicaStatus(
            replica=self._settings.replica,
            incarnation=self._incarnation,
            url=self._settings.url_of("serving"),
            at=datetime.now(UTC),
            converged=dict(self._pool.converged),
            versions=() if stopped else self._pool.report(),
            stopped=stopped,
        )
        content_type, body = encode(status)
        envelope = Envelope(
            id=new_id(),
            source="trimtab/serving",
            type=status.TYPE,
            time=status.at,
            subject=status.key,
            content_type=content_type,
        )
        topic = topic_of(ReplicaStatus).name
        try:
            await self._producer.send(topic, body, key=status.key.encode(), headers=to_headers(envelope))
        except Overloaded:
            return  # the next report says it all again
