"""Waiting in tests: until something is so, never for a while."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

POLL_SECONDS = 0.02

T = TypeVar("T")


@overload
async def until(predicate: Callable[[], Awaitable[T]], timeout_seconds: float = ..., what: str = ...) -> T: ...


@overload
async def until(predicate: Callable[[], T], timeout_seconds: float = ..., what: str = ...) -> T: ...


async def until(predicate: Callable[[], Any], timeout_seconds: float = 10.0, what: str = "the condition") -> Any:
    """Call `predicate` (plain or async) until its answer is truthy, and return that answer.

    Raises:
        TimeoutError: naming `what` and the last answer, if it never was within `timeout_seconds`.
    """
    deadline = time.monotonic() + timeout_seconds
    while True:
        answer = predicate()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {timeout_seconds:g} s; last answer: {answer!r}")
        await asyncio.sleep(POLL_SECONDS)


def until_sync(predicate: Callable[[], T], timeout_seconds: float = 10.0, what: str = "the condition") -> T:
    """`until` for tests without an event loop."""
    deadline = time.monotonic() + timeout_seconds
    while not (answer := predicate()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about within {timeout_seconds:g} s; last answer: {answer!r}")
        time.sleep(POLL_SECONDS)
    return answer
