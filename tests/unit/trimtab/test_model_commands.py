"""`trimtab models`: what the commands say beside the answer itself."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.unit.trimtab.installation import Installation, running
from trimtab.cli.root import app
from trimtab.client import Client
from trimtab.errors import InvalidInput, Unavailable

MOVED: dict[str, Any] = {
    "model_id": "m",
    "version": "1.1.0",
    "stage": "production",
    "unmet": [],
    "deployed_versions": [],
}


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


def test_a_promotion_says_who_still_has_the_traffic(installation: Installation) -> None:
    installation.answer("POST", "/mlops/models/m/1.1.0/promote", {**MOVED, "deployed_versions": ["1.0.0"]})
    assert _run(installation, "promote", "m", "1.1.0", "production").splitlines() == [
        "m 1.1.0 is in production now",
        "1.0.0 still has the traffic: `trimtab deploy m` gives it to 1.1.0",
    ]
    installation.answer("POST", "/mlops/models/m/1.1.0/promote", MOVED)
    assert _run(installation, "promote", "m", "1.1.0", "production") == "m 1.1.0 is in production now\n"


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


@pytest.mark.parametrize(("status", "told"), [(200, "m 1.0.0 was here already"), (201, "model_id")])
def test_what_was_registered_before_is_said_to_be(
    installation: Installation, tmp_path: Path, status: int, told: str
) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"graph")
    installation.answer("POST", "/mlops/models", {"model_id": "m", "version": "1.0.0", "metrics": {}}, status)
    printed = _run(installation, "register", str(model), "--model-id", "m")
    assert printed.startswith(told)
    assert "created" not in printed


@pytest.mark.parametrize("source", ["nothere.tar", "./models/nothere"])
def test_an_archive_that_is_not_there(installation: Installation, source: str) -> None:
    with pytest.raises(InvalidInput, match=f"there is no file or folder {source}"):
        _run(installation, "import", source)


def test_an_import_is_an_upload(installation: Installation, tmp_path: Path) -> None:
    archive = tmp_path / "m.tar"
    archive.write_bytes(b"tar")
    installation.answer("POST", "/mlops/models/import", {"model_id": "m", "version": "1.0.0", "created": True})
    command = ["models", "import", str(archive), "--url", installation.url]
    done = CliRunner().invoke(app, command, catch_exceptions=False)
    assert {json.loads(line)["event"] for line in done.stderr.splitlines()} == {"upload"}


def test_an_export_that_breaks_off_names_the_way_to_look(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as thread:
        served = thread.submit(_break_off, server)
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(Unavailable, match=r"broke .*damaged: `trimtab models verify m 1\.0\.0`"):
            Client(url).export_model("m", "1.0.0", tmp_path / "m.tar")
        served.result()
    assert not list(tmp_path.iterdir())


def _break_off(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
