"""What every group of methods builds on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from trimtab.calls import Call

T = TypeVar("T")

Answer = TypeVar("Answer")
"""`Any` for `Client`, `Awaitable[Any]` for `AsyncClient`."""


class Sender(ABC, Generic[Answer]):
    """Something that sends a call."""

    @abstractmethod
    def send(self, call: Call) -> Answer:
        """Send any call; the JSON of its answer (text where it is not JSON, None where it is empty)."""

    @abstractmethod
    def follow(self, plan: Generator[Call, Any, Any]) -> Answer:
        """What `plan` returns: it yields call after call, and gets the answer of each.

        For what needs several requests, written once; between them it may block (the asynchronous client runs it in a
        thread).
        """

    @abstractmethod
    def prepared(self, prepare: Callable[[], AbstractContextManager[T]], send: Callable[[T], Answer]) -> Answer:
        """The answer of `send` to what `prepare` yields, which is cleaned up afterwards.

        For what takes long before anything can be sent (files to fetch, a model to convert): the asynchronous client
        prepares in a thread.
        """
