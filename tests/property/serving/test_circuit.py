"""The circuit of a version against what it promises: when requests are let in, and that it never stays half-open."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from schemas.serving_options import Circuit
from services.serving.circuit import Breaker, CircuitOpen

FAILURES, OPEN_SECONDS = 3, 10.0


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CircuitMachine(RuleBasedStateMachine):
    """Requests enter and end in any order, while time passes."""

    tickets: Bundle[int] = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = Breaker(Circuit(failures=FAILURES, open_seconds=OPEN_SECONDS), self.clock)
        self.outstanding: list[int] = []
        self.opened_at = float("-inf")

    @rule(target=tickets)
    def enter(self) -> int:
        before = self.breaker.state
        if before == "open":
            with pytest.raises(CircuitOpen) as refused:
                self.breaker.enter()
            assert 0 < refused.value.retry_after_seconds <= OPEN_SECONDS * (1 + 1e-9)
            return -1
        try:
            ticket = self.breaker.enter()
        except CircuitOpen:
            assert before == "half-open"
            return -1
        if before == "half-open":
            assert self.clock.now >= self.opened_at + OPEN_SECONDS
            with pytest.raises(CircuitOpen):  # one at a time tries it
                self.breaker.enter()
        return ticket

    @rule(ticket=consumes(tickets))
    def succeed(self, ticket: int) -> None:
        before = self.breaker.state
        self.breaker.succeeded(ticket)
        if before == "open":
            assert self.breaker.state == "open"

    @rule(ticket=consumes(tickets))
    def fail(self, ticket: int) -> None:
        before, opened = self.breaker.state, self.breaker.opened
        self.breaker.failed(ticket)
        if self.breaker.opened > opened:
            assert before != "open"
            self.opened_at = self.clock.now

    @rule(ticket=consumes(tickets))
    def withdraw(self, ticket: int) -> None:
        before = self.breaker.state
        self.breaker.withdrew(ticket)
        assert self.breaker.state == before

    @rule(seconds=st.floats(0, 2 * OPEN_SECONDS))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @invariant()
    def left_alone_for_the_whole_time(self) -> None:
        if self.clock.now < self.opened_at + OPEN_SECONDS:
            assert self.breaker.state == "open"
        else:
            assert self.breaker.state != "open"


CircuitMachine.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestCircuit = CircuitMachine.TestCase


def state(circuit: Breaker) -> str:
    return circuit.state


def breaker(clock: Clock, failures: int = FAILURES) -> Breaker:
    return Breaker(Circuit(failures=failures, open_seconds=OPEN_SECONDS), clock)


def test_it_opens_after_so_many_failures_in_a_row_and_one_success_starts_again() -> None:
    circuit = breaker(Clock())
    for outcome in (circuit.failed, circuit.failed, circuit.succeeded, circuit.failed, circuit.failed):
        outcome(circuit.enter())
    assert state(circuit) == "closed"
    circuit.failed(circuit.enter())
    assert (state(circuit), circuit.opened) == ("open", 1)
    with pytest.raises(CircuitOpen) as refused:
        circuit.enter()
    assert refused.value.retry_after_seconds == OPEN_SECONDS


def test_one_request_tries_and_decides() -> None:
    clock = Clock()
    circuit = breaker(clock, failures=1)
    circuit.failed(circuit.enter())
    clock.now += OPEN_SECONDS
    circuit.failed(circuit.enter())
    assert (state(circuit), circuit.opened) == ("open", 2)
    clock.now += OPEN_SECONDS
    circuit.succeeded(circuit.enter())
    assert state(circuit) == "closed"


def test_late_reports_from_before_it_opened_count_for_nothing() -> None:
    clock = Clock()
    circuit = breaker(clock, failures=1)
    early, other, third = circuit.enter(), circuit.enter(), circuit.enter()
    circuit.failed(early)
    circuit.succeeded(other)
    assert state(circuit) == "open"
    clock.now += OPEN_SECONDS
    trial = circuit.enter()
    circuit.failed(third)
    assert state(circuit) == "half-open"
    circuit.succeeded(trial)
    assert state(circuit) == "closed"


def test_a_try_that_withdraws_or_is_never_heard_of_gives_way() -> None:
    clock = Clock()
    circuit = breaker(clock, failures=1)
    circuit.failed(circuit.enter())
    clock.now += OPEN_SECONDS
    circuit.withdrew(circuit.enter())
    lost = circuit.enter()
    with pytest.raises(CircuitOpen):
        circuit.enter()
    clock.now += OPEN_SECONDS
    trial = circuit.enter()
    circuit.succeeded(lost)
    assert state(circuit) == "half-open"
    circuit.succeeded(trial)
    assert state(circuit) == "closed"
