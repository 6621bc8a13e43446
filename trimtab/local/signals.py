"""Ctrl-C and SIGTERM: the first stops in order, a second one at once."""

import asyncio
import os
import signal
from collections.abc import Coroutine
from typing import Any

INTERRUPTED = 128
"""Exit status of a program ended by signal number n: 128 + n, as shells have it."""


async def until_signalled(work: Coroutine[Any, Any, int]) -> int:
    """Run `work` and return its exit status; a SIGINT or SIGTERM cancels it, and the status is 128 + the
    signal.

    What `work` holds is then released in order by its own `finally` and `async with`. A second signal
    ends this process on the spot, and its leashed children with it.
    """
    task = asyncio.ensure_future(work)
    received: list[int] = []

    def on_signal(number: int) -> None:
        if received:
            os._exit(INTERRUPTED + number)
        received.append(number)
        task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        return await task
    except asyncio.CancelledError:
        if not received:
            raise
        return INTERRUPTED + received[0]
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


def killed_by(status: int | None) -> str | None:
    """The name of the signal that ended a child with the return code `status`; None if it ended by itself."""
    if status is None or status >= 0:
        return None
    try:
        return signal.Signals(-status).name
    except ValueError:  # a real-time signal has no name
        return f"signal {-status}"
