"""`trimtab models`: what the commands say beside the answer itself."""

from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.trimtab.installation import Installation, running
from trimtab.cli.root import app

MOVED = {"model_id": "m", "version": "1.1.0", "from_stage": "staging", "stage": "production"}


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


def _run(installation: Installation, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["models", *arguments, "--url", installation.url], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def _route(version: str, weight: float) -> dict[str, Any]:
    return {"name": "main", "version": version, "weight": weight}


@pytest.mark.parametrize(
    ("routes", "hint"),
    [
        ([_route("1.0.0", 100)], "of the traffic 1.0.0 has 100 %: `trimtab deploy m` gives it to 1.1.0\n"),
        (None, "of the traffic nothing has any: `trimtab deploy m` gives it to 1.1.0\n"),
        ([_route("1.1.0", 100)], ""),
    ],
)
def test_a_promotion_says_who_has_the_traffic(
    installation: Installation, routes: list[dict[str, Any]] | None, hint: str
) -> None:
    installation.answer("POST", "/mlops/models/m/1.1.0/promote", MOVED)
    if routes is not None:
        installation.answer("GET", "/mlops/deployments/m", {"routes": routes})
    assert _run(installation, "promote", "m", "1.1.0", "production") == f"m 1.1.0 is in production now\n{hint}"
    assert _run(installation, "promote", "m", "1.1.0", "staging") == "m 1.1.0 is in staging now\n"


def test_a_rollback_past_a_rejection_says_so(installation: Installation) -> None:
    installation.answer("POST", "/mlops/models/m/1.1.0/promote", {**MOVED, "unmet": ["rejected by Ada: too slow"]})
    told = _run(installation, "promote", "m", "1.1.0", "production").splitlines()
    assert told[1] == "past what its policy asks for, since it was there before: rejected by Ada: too slow"


def test_versions_are_listed_with_what_they_serve(installation: Installation) -> None:
    about = {"stage": "production", "metrics": {}, "registered_at": "2026-01-31T12:00:00Z"}
    versions = [{"version": version, **about} for version in ("1.2.0", "1.1.0", "1.0.0")]
    deployment = {"routes": [_route("1.1.0", 90)], "shadow": _route("1.0.0", 0), "fallback": None}
    installation.answer("GET", "/mlops/models/m", {"versions": versions, "deployment": deployment})
    rows = [line.split() for line in _run(installation, "show", "m").splitlines()]
    assert [row[2] for row in rows if "production" in row] == ["-", "90", "shadow"]
