"""Waiting for a dependency that is away: an hour of training is not thrown away for a minute without a store."""

import asyncio
import random
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from services.kernel.errors import Unavailable
from services.kernel.telemetry import get_logger

log = get_logger(__name__)

FIRST_SECONDS = 0.2
MOST_SECONDS = 10.0

P = ParamSpec("P")
T = TypeVar("T")


async def patiently(seconds: float, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`fn(...)` in a thread; while it raises `Unavailable`, again, with pauses that double (jittered, at most
    `MOST_SECONDS`), for `seconds`. Then its `Unavailable` is raised. Other errors are raised at once."""
    deadline = time.monotonic() + seconds
    pause_seconds = FIRST_SECONDS
    while True:
        try:
            return await asyncio.to_thread(fn, *args, **kwargs)
        except Unavailable as error:
            wait_seconds = pause_seconds * random.uniform(0.5, 1.0)
            if time.monotonic() + wait_seconds > deadline:
                raise
            log.warning("dependency_waited_for", error=error.detail, seconds=round(wait_seconds, 2))
            await asyncio.sleep(wait_seconds)
            pause_seconds = min(pause_seconds * 2, MOST_SECONDS)
