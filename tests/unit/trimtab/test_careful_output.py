"""Text that others wrote neither steers the terminal nor looks like lines of ours."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.trimtab.installation import Installation, running
from trimtab.cli.output import page, visible
from trimtab.cli.root import app

NASTY = "\x1b[31mRED\nversion  9.9.9 FAKE\x9b2J\u202edeppots\r\x07"
SHOWN = r"\x1b[31mRED\nversion  9.9.9 FAKE\x9b2J\u202edeppots\r\x07"


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


def _run(installation: Installation, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--url", installation.url], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_only_lines_of_a_page_stay() -> None:
    assert visible(NASTY) == SHOWN
    assert visible("Grüße, 世界 \ud800 👩\u200d💻") == "Grüße, 世界 \\ud800 👩\u200d💻"
    assert page("# one\n\x1btwo") == "# one\n\\x1btwo"


def test_names_and_values(installation: Installation) -> None:
    version = {"model_id": "m", "version": "1.0.0", "description": NASTY, "tags": {NASTY: NASTY}, "metrics": {}}
    installation.answer("GET", "/mlops/models/m/1.0.0", version)
    drawn = _run(installation, "models", "show", "m", "1.0.0")
    assert drawn.splitlines()[-2].split(maxsplit=1) == ["description", SHOWN]
    assert drawn.splitlines()[-1].split(maxsplit=1) == ["tags", f"{SHOWN} {SHOWN}"]
    assert json.loads(_run(installation, "models", "show", "m", "1.0.0", "--json")) == version


def test_tables_lines_and_pages(installation: Installation) -> None:
    move = {"at": "2026-01-31T12:00:00Z", "version": "1.0.0", "from_stage": None, "to_stage": "draft"}
    said: dict[str, Any] = {**move, "actor": NASTY, "comment": NASTY}
    installation.answer("GET", "/mlops/models/m/history", {"history": [said]})
    installation.answer("POST", "/mlops/models/m/1.0.0/approvals", {"decision": NASTY, "stage": "production", **said})
    installation.answer_text("GET", "/mlops/models/m/1.0.0/card", f"# m\n\n{NASTY}", "text/markdown")
    installation.answer_text("GET", "/mlops/models/m/compliance", f"# m\n\n{NASTY}", "text/markdown")
    verdict = {"model_id": "m", "version": "1.0.0", "state": "bad", "signatures": [], "files": []}
    file = {"path": NASTY, "state": "damaged", "detail": NASTY}
    installation.answer("GET", "/mlops/models/m/1.0.0", {"version": "1.0.0", "size_bytes": 1})
    installation.answer("POST", "/mlops/models/m/1.0.0/verify", {**verdict, "files": [file]})
    assert "\x1b" not in (history := _run(installation, "models", "history", "m"))
    assert "9.9.9" in history
    assert not any(line.startswith("version") for line in history.splitlines())
    assert SHOWN in _run(installation, "models", "approve", "m", "1.0.0").replace("\n", "")
    for command in (("card", "m", "1.0.0"), ("compliance", "m")):
        printed = _run(installation, "models", *command)
        assert printed.startswith("# m\n\n\\x1b[31mRED\n")
        assert not set(printed) & set("\x1b\x9b\u202e\x07")
    verified = CliRunner().invoke(app, ["models", "verify", "m", "1.0.0", "--url", installation.url])
    assert f"    {SHOWN}: damaged: {SHOWN}" in verified.stdout
