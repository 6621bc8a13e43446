"""Commands: what they send, what they print, and how they fail."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from tests.unit.trimtab.installation import Installation, running
from trimtab.cli.options import split_reference
from trimtab.cli.output import sparkline
from trimtab.cli.root import COMMANDS, app
from trimtab.cli.rows import read_rows, typed
from trimtab.errors import InvalidInput, TrimtabError
from trimtab.local.ports import free_ports


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        yield server


def _run(*arguments: str, url: str = "http://127.0.0.1:1") -> Any:
    return CliRunner().invoke(app, [*arguments, "--url", url], catch_exceptions=False)


def _leaves() -> Iterator[tuple[str, Any]]:
    group: Any = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.get_command(None, name)
        children = getattr(command, "commands", {})
        yield from ((f"{name} {child}", leaf) for child, leaf in children.items())
        if not children or command.invoke_without_command:
            yield name, command


@pytest.mark.parametrize(
    ("name", "command"), list(_leaves()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_takes_json_url_and_key(name: str, command: Any) -> None:
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--url", "--api-key"} <= options
    assert command.help, f"{name} has no help"


def test_the_table_of_commands_and_the_modules_agree() -> None:
    folder = Path(sys.modules["trimtab.cli"].__path__[0])
    others = {"__init__", "root", "options", "output", "rows"}
    modules = {path.stem.replace("_", "-") for path in folder.glob("*.py")} - others - {"--init--"}
    assert modules == set(COMMANDS)


def test_models_as_a_table_and_as_json(installation: Installation) -> None:
    latest = {"version": "1.1.0", "stage": "staging"}
    model = {"model_id": "m[/]", "model_name": "", "versions": 2, "latest": latest, "production": None}
    installation.answer("GET", "/mlops/models", {"models": [model], "next_cursor": None})
    drawn = _run("models", "list", url=installation.url)
    assert drawn.exit_code == 0
    assert "m[/]" in drawn.stdout
    assert "1.1.0 (staging)" in drawn.stdout
    printed = _run("models", "list", "--json", url=installation.url)
    assert json.loads(printed.stdout)["models"] == [model]


def test_deploy_sends_what_was_asked(installation: Installation) -> None:
    route = {"name": "canary", "version": "1.1.0", "weight": 10}
    wanted = {"model_id": "m", "routes": [route], "revision": 2, "since": None}
    installation.answer("POST", "/mlops/deploy", wanted, 202)
    done = _run("deploy", "m:1.1.0", "--canary", "10", "--fallback", "1.0.0", url=installation.url)
    assert done.exit_code == 0
    assert "1.1.0 10 % (canary)" in done.stdout
    sent = {"model_id": "m", "version": "1.1.0", "canary": 10.0, "fallback": "1.0.0"}
    assert installation.asked[0].document == sent


def test_a_job_of_yaml_is_sent_with_paths_beside_the_file(installation: Installation, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("a,label\n1,x\n")
    job = tmp_path / "job.yaml"
    job.write_text("modelType: m\ndatasetConfig:\n  trainPath: rows.csv\n  testPath: artifact:rows.parquet\n")
    answer: dict[str, Any] = {
        "job_id": "job-1",
        "model_id": "m",
        "state": "queued",
        "requested_by": "me",
        "reason": "",
        "metrics": {},
        "detail": None,
        "error": None,
    }
    installation.answer("POST", "/mlops/train", answer, 202)
    done = _run("train", str(job), url=installation.url)
    assert done.exit_code == 0
    assert "job-1" in done.stdout
    sent = installation.asked[0].document["datasetConfig"]
    assert sent == {"trainPath": str(tmp_path / "rows.csv"), "testPath": "artifact:rows.parquet"}


def test_a_failed_job_that_was_waited_for_is_exit_status_1(installation: Installation, tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    job.write_text("{}")
    answer: dict[str, Any] = {
        "job_id": "job-1",
        "model_id": "m",
        "state": "failed",
        "requested_by": "me",
        "reason": "",
        "metrics": {},
        "detail": "no such file",
        "error": "not-found",
    }
    installation.answer("POST", "/mlops/train", answer, 202)
    installation.answer("GET", "/mlops/train/job-1", answer)
    done = _run("train", str(job), "--wait", url=installation.url)
    assert done.exit_code == 1
    assert "no such file" in done.stdout


def test_a_file_is_predicted_in_the_types_of_the_signature(installation: Installation, tmp_path: Path) -> None:
    inputs = [
        {"name": "x", "datatype": "FP32"},
        {"name": "port", "datatype": "BYTES"},
        {"name": "n", "datatype": "INT64"},
    ]
    installation.answer("GET", "/v2/models/m", {"inputs": inputs})
    answers = [
        {"prediction_id": "a-0", "prediction": "dos", "version": "1.0.0"},
        {"prediction_id": "a-1", "prediction": "dos", "version": "1.0.0"},
    ]
    installation.answer("POST", "/mlops/predict/batch", {"predictions": answers})
    installation.answer("POST", "/mlops/labels", {"accepted": 2}, 202)
    rows = tmp_path / "rows.csv"
    rows.write_text("x,port,n,truth\n1.5,80,3,dos\n,443,4,normal\n")
    done = _run("predict", "m", "--file", str(rows), "--labels", "truth", "--json", url=installation.url)
    assert json.loads(done.stdout)["accuracy"] == 0.5
    _, batch, labels = installation.asked
    assert batch.document["inputs"] == [{"x": 1.5, "port": "80", "n": 3}, {"x": None, "port": "443", "n": 4}]
    sent = [{"prediction_id": "a-0", "label": "dos"}, {"prediction_id": "a-1", "label": "normal"}]
    assert labels.document == {"model_id": "m", "labels": sent}


@pytest.mark.parametrize("arguments", [(), ("--input", "{}", "--file", "x.csv")])
def test_predict_wants_one_kind_of_input(arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match="either"):
        _run("predict", "m", *arguments)


@pytest.mark.parametrize("text", ["{", "[1]", "1"])
def test_an_input_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="--input"):
        _run("predict", "m", "--input", text)


@pytest.mark.parametrize(("name", "content"), [("a.txt", ""), ("a.jsonl", "{"), ("none.csv", None), ("a.parquet", "x")])
def test_a_file_that_holds_no_rows_is_refused_by_name(tmp_path: Path, name: str, content: str | None) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(InvalidInput, match=name):
        list(read_rows(path))


def test_a_cell_that_is_no_number_is_named() -> None:
    with pytest.raises(InvalidInput, match="'x' holds 'many'"):
        typed({"x": "many"}, {"x": "FP32"})


@pytest.mark.parametrize("reference", ["", ":1.0.0", "m:"])
def test_a_wrong_reference_is_refused(reference: str) -> None:
    with pytest.raises(InvalidInput):
        split_reference(reference)


def test_a_sparkline_has_a_bar_a_value() -> None:
    assert sparkline([]) == ""
    assert sparkline([0, 0]) == "▁▁"
    assert sparkline([0.0, 1.0] * 40)[-2:] == "▁█"
    assert len(sparkline([1.0] * 99)) == 24


@pytest.mark.parametrize("as_json", [False, True])
def test_an_error_is_one_sentence_and_exit_status_1(as_json: bool) -> None:
    url = f"http://127.0.0.1:{free_ports(1)[0]}"
    command = [sys.executable, "-m", "trimtab", "models", "list", "--url", url, *(["--json"] if as_json else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "trimtab up" in line
    if as_json:
        assert json.loads(line)["error"] == "unavailable"


def test_wrong_settings_are_named_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIMTAB_REGISTRY_PORT", "many")
    with pytest.raises(TrimtabError, match="TRIMTAB_REGISTRY_PORT"):
        _run("topics")


def test_schemas_are_written(tmp_path: Path) -> None:
    done = _run("schemas", "export", str(tmp_path / "out"), "--json")
    files = json.loads(done.stdout)["files"]
    assert files
    assert all(Path(file).exists() for file in files)
