"""Leaving a version alone that keeps failing. Pure: the clock is given.

    closed ── `failures` requests failed in a row ──▶ open ── `open_seconds` later ──▶ half-open
       ▲                                               ▲                                  │ one request tries it
       └───────────────── it was answered ─────────────┼──────────────────────────────────┤
                                                       └────────── it failed ─────────────┘

A request is let in with a ticket and reports by it what became of it. Only what the version did counts: a caller that
hung up, or whose own time was too short, withdraws. Reports that come late, from before the circuit last changed, count
for nothing. A try that is never heard of again gives way to another after `open_seconds`, so nothing stays half-open.

Source: Nygard, "Release It!" (2nd ed., 2018), chapter 5, "Circuit Breaker".
"""

import time
from collections.abc import Callable
from typing import Literal

from schemas.serving_options import Circuit
from services.kernel.errors import Overloaded

State = Literal["closed", "open", "half-open"]


class CircuitOpen(Overloaded):
    """The version failed too often just now and is left alone for a while."""

    code = "circuit-open"


class Breaker:
    """The circuit of one version. Lives on the event loop."""

    def __init__(self, rule: Circuit, clock: Callable[[], float] = time.monotonic) -> None:
        self.rule = rule
        """May be replaced at any time."""
        self.opened = 0
        """How often it has opened."""
        self._clock = clock
        self._state: State = "closed"
        self._failures = 0
        self._since = 0.0
        self._ticket = 0
        """The one that counts: shared by all while closed, of the one that tries while half-open."""
        self._trying = False

    @property
    def state(self) -> State:
        """As of now; an open circuit whose time is over is half-open."""
        return "half-open" if self._state == "open" and self._remaining() <= 0 else self._state

    def enter(self) -> int:
        """A ticket for one request. Raises `CircuitOpen` when the version is left alone."""
        if self._state == "closed":
            return self._ticket
        remaining = self._remaining()
        if remaining > 0 and (self._state == "open" or self._trying):
            again = remaining if self._state == "open" else min(1.0, remaining)
            raise CircuitOpen(
                f"this version failed {self.rule.failures} times in a row and is left alone for now",
                retry_after_seconds=again,
            )
        self._state = "half-open"
        self._trying = True
        self._since = self._clock()
        self._ticket += 1
        return self._ticket

    def succeeded(self, ticket: int) -> None:
        """The request was answered."""
        if ticket != self._ticket:
            return
        if self._state == "closed":
            self._failures = 0
        else:
            self._state = "closed"
            self._failures = 0
            self._trying = False
            self._ticket += 1

    def failed(self, ticket: int) -> None:
        """The version failed the request, or took too long."""
        if ticket != self._ticket:
            return
        if self._state == "closed":
            self._failures += 1
            if self._failures < self.rule.failures:
                return
        self._state = "open"
        self._trying = False
        self._since = self._clock()
        self._ticket += 1
        self.opened += 1

    def withdrew(self, ticket: int) -> None:
        """The request ended in a way that says nothing of the version."""
        if ticket == self._ticket and self._state == "half-open":
            self._trying = False

    def _remaining(self) -> float:
        return self._since + self.rule.open_seconds - self._clock()
