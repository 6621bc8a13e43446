"""Background tasks of one part of the process, none of which may die unnoticed."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class Nursery:
    """Spawns tasks. `task` ends with the first unexpected error of any of them, which ends the process (see
    `services.kernel.service`): a half-dead service is worse than a restarted one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._children: set[asyncio.Task[Any]] = set()
        self._failed: asyncio.Future[None] | None = None
        self.task: asyncio.Task[None] | None = None

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> "asyncio.Task[None]":
        """Run `work` until it ends or the nursery closes."""
        loop = asyncio.get_running_loop()
        if self._failed is None:
            self._failed = loop.create_future()
            self.task = loop.create_task(_first_failure(self._failed), name=self._name)
        child = loop.create_task(work, name=name)
        self._children.add(child)
        child.add_done_callback(self._ended)
        return child

    def _ended(self, child: "asyncio.Task[None]") -> None:
        self._children.discard(child)
        if child.cancelled() or (error := child.exception()) is None:
            return
        if self._failed is not None and not self._failed.done():
            self._failed.set_exception(error)

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        children = list(self._children)
        if self.task is not None:
            children.append(self.task)
        for child in children:
            child.cancel()
        await asyncio.gather(*children, return_exceptions=True)


async def _first_failure(failed: "asyncio.Future[None]") -> None:
    await failed
