"""Looking on: every event of the installation, from `GET /mlops/events`, as it happens."""

import asyncio
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Any, Self

from trimtab.async_client import AsyncClient
from trimtab.errors import Unavailable
from trimtab.event_stream import ServerEvent

RECONNECT_SECONDS = 0.5


class Watch:
    """Keeps the events about one model. Use it as `async with`."""

    def __init__(self, client: AsyncClient, model_id: str, tell: Callable[[ServerEvent], None]) -> None:
        self._client = client
        self._model_id = model_id
        self._tell = tell
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.events: list[ServerEvent] = []

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._follow(), name="watch")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    def first(self, type_name: str, **members: Any) -> ServerEvent | None:
        """The first event of a type whose data has these members, or None yet."""
        for event in self.events:
            data = event.data["data"]
            if event.type == type_name and all(data.get(name) == value for name, value in members.items()):
                return event
        return None

    async def _follow(self) -> None:
        last: str | None = None
        while True:
            try:
                async for event in self._client.events(model_id=self._model_id, last_event_id=last):
                    last = event.id
                    self.events.append(event)
                    self._tell(event)
            except Unavailable:
                pass
            await asyncio.sleep(RECONNECT_SECONDS)


def time_of(event: ServerEvent) -> datetime:
    """When the event happened, by its own account."""
    return datetime.fromisoformat(event.data["time"])
