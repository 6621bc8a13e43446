"""What every group of methods builds on."""

from abc import ABC, abstractmethod
from typing import Generic, TypeVar

from trimtab.calls import Call

Answer = TypeVar("Answer")
"""`Any` for `Client`, `Awaitable[Any]` for `AsyncClient`."""


class Sender(ABC, Generic[Answer]):
    """Something that sends a call."""

    @abstractmethod
    def send(self, call: Call) -> Answer:
        """Send any call; the JSON of its answer (text where it is not JSON, None where it is empty)."""
