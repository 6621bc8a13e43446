"""The chain of events that led to a version."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.console import Console

from trimtab.chain import Link, chain_of
from trimtab.cli.why import draw_chain
from trimtab.errors import NotFound

START = datetime(2026, 1, 31, 12, tzinfo=UTC)


def _link(second: int, type_name: str, cause: str | None = None, **body: Any) -> Link:
    name = f"{type_name}-{second}"
    topic = "drift-signals" if type_name == "drift.found" else "t"
    return Link(
        name, f"trimtab.{type_name}.v1", START + timedelta(seconds=second), f"{topic}/0/{second}", cause, None, body
    )


def _story() -> list[Link]:
    first = [
        _link(0, "training.requested", job_id="j1"),
        _link(1, "job.succeeded", "training.requested-0", job_id="j1"),
        _link(2, "model.registered", "job.succeeded-1", version="1.0.0", job_id="j1"),
    ]
    second = [
        _link(3, "drift.found", version="1.0.0", state="raised"),
        _link(4, "loop.stepped", "drift.found-3", cycle_id="c1", step="noticed"),
        _link(5, "training.requested", "loop.stepped-4", job_id="j2", cycle_id="c1"),
        _link(6, "job.progress", "training.requested-5", job_id="j2"),
        _link(7, "job.succeeded", "training.requested-5", job_id="j2", cycle_id="c1"),
        _link(8, "model.registered", "job.succeeded-7", version="1.1.0", job_id="j2", cycle_id="c1"),
        _link(9, "deployment.wanted", routes=[{"version": "1.1.0"}, {"version": "1.0.0"}]),
        _link(10, "drift.found", version="1.0.0", state="updated"),
    ]
    return [*first, *second]


def test_the_chain_reaches_back_to_the_signal_and_on_to_the_rollout() -> None:
    seconds = [(link.time - START).seconds for link in chain_of(_story(), "1.1.0")]
    assert seconds == [3, 4, 5, 7, 8, 9]


def test_a_version_that_a_person_asked_for_has_a_chain_too() -> None:
    seconds = [(link.time - START).seconds for link in chain_of(_story(), "1.0.0")]
    assert seconds == [0, 1, 2, 9]


def test_a_version_that_nobody_registered() -> None:
    with pytest.raises(NotFound, match=r"2\.0\.0"):
        chain_of(_story(), "2.0.0")


def test_a_link_as_json_keeps_what_it_says() -> None:
    told = _story()[4].to_json()
    assert (told["step"], told["causation_id"], told["at"]) == ("noticed", "drift.found-3", "t/0/4")


def test_a_drawn_chain_says_whose_it_is() -> None:
    console = Console(width=120)
    with console.capture() as captured:
        draw_chain(console, "m 1.0.0, the version that serves", chain_of(_story(), "1.0.0"))
    first, *_, last = captured.get().splitlines()
    assert first == "m 1.0.0, the version that serves"
    assert "deployment.wanted" in last
