"""A running trainer on the real broker, and what it says on `training-events`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from schemas.base import Message
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.tail import follow
from services.kernel.service import Service
from services.kernel.settings import Settings
from services.trainer.app import build
from services.trainer.settings import TrainerSettings
from tests.waiting import until

JOB_SECONDS = 90.0


def trainer_settings(bootstrap: str, prefix: str, data_dir: Path, **more: Any) -> TrainerSettings:
    """Settings of a trainer of its own."""
    return TrainerSettings(
        kafka_bootstrap=bootstrap, topic_prefix=prefix, data_dir=data_dir, topic_partitions=1, **more
    )


def training_processes(folder: Path, parent: int | None = None) -> list[psutil.Process]:
    """Child processes that train below `folder`, of the process `parent` or of anyone."""
    found = []
    for process in psutil.process_iter(["cmdline", "ppid"]):  # a process that is gone has no words
        words = process.info["cmdline"] or []
        mine = parent is None or process.info["ppid"] == parent
        if mine and "services.trainer.child" in words and any(str(folder) in word for word in words):
            found.append(process)
    return found


@dataclass
class Trainer:
    """The service and an HTTP client for it."""

    service: Service
    http: httpx.AsyncClient
    settings: TrainerSettings

    async def submit(self, job: dict[str, Any], **headers: str) -> str:
        """POST the job; its id."""
        response = await self.http.post("/mlops/train", json=job, headers=headers)
        assert response.status_code == 202, response.text
        return str(response.json()["job_id"])

    async def job(self, job_id: str) -> dict[str, Any]:
        """GET the job."""
        response = await self.http.get(f"/mlops/train/{job_id}")
        assert response.status_code == 200, response.text
        return dict(response.json())

    async def until_state(self, job_id: str, *states: str, timeout_seconds: float = JOB_SECONDS) -> dict[str, Any]:
        """Wait for one of `states`."""

        async def there() -> dict[str, Any] | None:
            job = await self.job(job_id)
            return job if job["state"] in states else None

        found: dict[str, Any] | None = await until(there, timeout_seconds, f"{job_id} in {states}")
        assert found is not None
        return found

    async def until_epoch(self, job_id: str) -> dict[str, Any]:
        """Wait until the job has reported an epoch."""

        async def there() -> dict[str, Any] | None:
            job = await self.job(job_id)
            assert job["state"] in ("queued", "running"), job
            return job if job["progress"] and job["state"] == "running" else None

        found: dict[str, Any] | None = await until(there, JOB_SECONDS, f"an epoch of {job_id}")
        assert found is not None
        return found


@contextlib.asynccontextmanager
async def running_trainer(settings: TrainerSettings) -> AsyncIterator[Trainer]:
    """Start it on fresh topics, stop it at the end."""
    await apply_topics(settings)
    service = build(settings)
    await service.start()
    transport = httpx.ASGITransport(app=service.app)  # type: ignore[arg-type]
    try:
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            await until(lambda: not service.waiting_for(), JOB_SECONDS, "a ready trainer")
            yield Trainer(service, http, settings)
    finally:
        await service.stop()


@dataclass
class Events:
    """What has appeared on a topic so far."""

    messages: list[Message] = field(default_factory=list)
    revisions: list[int | None] = field(default_factory=list)

    def of(self, kind: type[Message]) -> list[Any]:
        """The messages of one type."""
        return [message for message in self.messages if isinstance(message, kind)]

    async def until(self, kind: type[Message], count: int = 1, timeout_seconds: float = JOB_SECONDS) -> list[Any]:
        """Wait for `count` messages of a type."""
        await until(lambda: len(self.of(kind)) >= count, timeout_seconds, f"{count} {kind.__name__}")
        return self.of(kind)


@contextlib.asynccontextmanager
async def watched_events(settings: Settings, topic: str = "training-events") -> AsyncIterator[Events]:
    """Follow a topic from its start."""
    events = Events()
    seen: set[str] = set()

    async def watch() -> None:
        async for record in follow(settings, [topic], from_start=True):
            envelope, message = record.message()
            if envelope.id in seen:  # delivery is at least once
                continue
            seen.add(envelope.id)
            events.messages.append(message)
            events.revisions.append(envelope.revision)

    task = asyncio.create_task(watch())
    try:
        yield events
    finally:
        task.cancel()
        await asyncio.wait([task])
