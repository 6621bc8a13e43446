"""A dependency that is away for a while is waited for; other errors are not."""

import pytest

from services.kernel.errors import NotFound, Unavailable
from services.trainer.patience import patiently


class Away:
    """Answers from the n-th call on."""

    def __init__(self, answers_at: int) -> None:
        self.answers_at = answers_at
        self.calls = 0

    def ask(self, word: str) -> str:
        self.calls += 1
        if self.calls < self.answers_at:
            raise Unavailable("the store is away")
        return word


async def test_it_waits_while_the_patience_lasts() -> None:
    away = Away(3)
    assert await patiently(30.0, away.ask, "here") == "here"
    assert away.calls == 3


async def test_it_gives_up_after_that() -> None:
    away = Away(1000)
    with pytest.raises(Unavailable, match="the store is away"):
        await patiently(0.3, away.ask, "here")
    assert 1 <= away.calls <= 4


async def test_other_errors_are_raised_at_once() -> None:
    calls = []

    def ask() -> None:
        calls.append(1)
        raise NotFound("no such key")

    with pytest.raises(NotFound):
        await patiently(30.0, ask)
    assert len(calls) == 1
