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
from trimtab.cli.up import _say_applied
from trimtab.client import Client
from trimtab.errors import InvalidInput, NotFound, TrimtabError, Unavailable
from trimtab.local.errors import LocalError
from trimtab.local.ports import free_ports
from trimtab.served import serving_version


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
    others = {"__init__", "root", "options", "output", "rows", "deployment-view"}
    found = [*folder.glob("*.py"), *(path.parent for path in folder.glob("*/__init__.py"))]
    modules = {path.stem.replace("_", "-") for path in found} - others - {"--init--"}
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


REPORT = {
    **{"kind": "int8", "metric": "accuracy", "rows": 400, "loss": 0.0025, "bound": 0.01, "max_difference": 0.03},
    **{"bytes_before": 120800, "bytes_after": 53618, "seconds_before": 0.0084, "seconds_after": 0.0083},
}


def test_deploy_says_how_the_model_is_served(installation: Installation, tmp_path: Path) -> None:
    chosen = {"timeout_ms": 200.0, "log": {"sample": 0.5, "redact": {"e-mail": "hash"}}, "circuit": None}
    options = tmp_path / "options.yaml"
    options.write_text("timeoutMs: 200\nlog:\n  sample: 0.5\n  redact: {e-mail: hash}\n")
    graph = {"kind": "int8", "sha256": "a" * 64, "size": 53618, "report": REPORT}
    route = {"name": "B", "version": "1.1.0", "weight": 50, "quantized": graph}
    wanted = {"model_id": "m", "routes": [route], "revision": 2, "since": None, "options": chosen}
    wanted |= {"fallback_model": "spare", "fallback_constant": {"prediction": "normal"}, "sticky_key": "user"}
    installation.answer("POST", "/mlops/deploy", wanted, 202)
    command = ["deploy", "m", "--variant", "A=1.0.0:50", "--variant", "B=@challenger:50", "--options", str(options)]
    command += ["--fallback-model", "spare", "--fallback-constant", "normal", "--sticky-key", "user"]
    done = _run(*command, url=installation.url)
    assert done.exit_code == 0, done.stderr
    assert installation.asked[0].document == {
        "model_id": "m",
        "variants": {"A": {"version": "1.0.0", "weight": 50.0}, "B": {"version": "@challenger", "weight": 50.0}},
        "fallback_model": "spare",
        "fallback_constant": {"prediction": "normal"},
        "sticky_key": "user",
        "options": {"timeoutMs": 200, "log": {"sample": 0.5, "redact": {"e-mail": "hash"}}},
    }
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["timeout_ms", "200"] in lines
    assert ["log.redact", "e-mail", "hash"] in lines
    assert ["fallback", "constant", "normal"] in lines
    report = "1.1.0 int8 0.0025 0.01 accuracy 400 120,800 -> 53,618 B 8.4 -> 8.3 ms"
    assert report.split() in lines
    assert "circuit" not in done.stdout
    assert "1.1.0 int8 50 % (B)" in done.stdout


def test_a_graph_that_loses_too_much_is_shown(installation: Installation) -> None:
    problem = {"code": "not-quantized", "detail": "it loses 0.3", "report": {**REPORT, "loss": 0.3}}
    installation.answer("POST", "/mlops/deploy", problem, 409)
    command = [sys.executable, "-m", "trimtab", "deploy", "m:1.0.0", "--quantize", "int8", "--max-loss", "0.2", "--url"]
    done = subprocess.run([*command, installation.url], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "it loses 0.3" in done.stderr
    assert [line.split()[:3] for line in done.stdout.splitlines() if "int8" in line] == [["int8", "0.3", "0.01"]]
    sent = {"model_id": "m", "version": "1.0.0", "quantize": "int8", "quantize_max_loss": 0.2}
    assert installation.asked[0].document == sent


def test_a_bound_of_nothing_is_refused(installation: Installation) -> None:
    command = [sys.executable, "-m", "trimtab", "deploy", "m:1.0.0", "--max-loss", "0.2", "--url", installation.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert "--quantize" in done.stderr
    assert installation.asked == []


def test_options_alone_and_a_look(installation: Installation, tmp_path: Path) -> None:
    options = tmp_path / "options.json"
    options.write_text("{}")
    installation.answer("PUT", "/mlops/deployments/m/options", _deployment(), 202)
    installation.answer("GET", "/mlops/deployments/m", _deployment())
    installation.answer("GET", "/mlops/deployments", {"deployments": [_deployment()], "next_cursor": None})
    done = _run("deploy", "m", "--options", str(options), "--options-only", url=installation.url)
    assert done.exit_code == 0, done.stderr
    assert "1.1.0 100 % (main)" in _run("deploy", "m", "--show", url=installation.url).stdout
    every = _run("deploy", "--show", url=installation.url)
    assert [line.split()[:2] for line in every.stdout.splitlines() if "main" in line] == [["m", "1.1.0"]]
    assert [(asked.method, asked.body) for asked in installation.asked] == [
        ("PUT", b"{}"),
        ("GET", b""),
        ("GET", b""),
    ]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "name the model"),
        (("m", "--variant", "A=1.0.0"), "not NAME=VERSION:PERCENT"),
        (("m", "--variant", "A=1.0.0:-5"), "not NAME=VERSION:PERCENT"),
        (("m", "--variant", "A=1.0.0:50", "--variant", "A=1.1.0:50"), "'A' is given twice"),
        (("m", "--fallback-constant", "[1]"), "no class, number or object"),
        (("m", "--options-only"), "takes a model and --options"),
        (("m:1.0.0", "--options-only", "--options", "OPTIONS"), "changes nothing else"),
    ],
)
def test_deploy_refuses_what_it_does_not_understand(
    installation: Installation, tmp_path: Path, words: tuple[str, ...], says: str
) -> None:
    (tmp_path / "options.json").write_text("{}")
    given = [str(tmp_path / "options.json") if word == "OPTIONS" else word for word in words]
    command = [sys.executable, "-m", "trimtab", "deploy", *given, "--url", installation.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert says in done.stderr
    assert installation.asked == []


REPLICA = {"replica": "serving-1", "url": "http://r", "state": "converged", "revision": 2, "at": "2026-01-31T12:00:00Z"}


def _deployment(**replica: Any) -> dict[str, Any]:
    known = {**REPLICA, "versions": [{"version": "1.1.0", "state": "ready", "detail": ""}], **replica}
    route = {"name": "main", "version": "1.1.0", "weight": 100}
    wanted = {"model_id": "m", "routes": [route], "revision": 2, "since": None}
    return {**wanted, "converged": known["state"] == "converged", "replicas": [known]}


def test_deploy_waits_and_shows_the_replicas(installation: Installation) -> None:
    installation.answer("POST", "/mlops/deploy", {**_deployment(), "replicas": []}, 202)
    installation.answer("GET", "/mlops/deployments/m", _deployment())
    done = _run("deploy", "m:1.1.0", "--wait", url=installation.url)
    assert done.exit_code == 0
    assert [line.split() for line in done.stdout.splitlines() if "serving-1" in line] == [
        ["serving-1", "converged", "2", "1.1.0", "ready", "-"]
    ]


@pytest.mark.parametrize(
    ("replica", "timeout", "sentence"),
    [
        ({"versions": [{"version": "1.1.0", "state": "failed", "detail": "no memory"}]}, "60", "can't load m 1.1.0"),
        ({"versions": []}, "0", "revision 2 of m is not served after 0 s"),
    ],
)
def test_a_deployment_that_fails_is_shown_with_its_reason(
    installation: Installation, replica: dict[str, Any], timeout: str, sentence: str
) -> None:
    state = "failed" if replica["versions"] else "behind"
    late = _deployment(state=state, revision=1, **replica)
    installation.answer("POST", "/mlops/deploy", late, 202)
    installation.answer("GET", "/mlops/deployments/m", late)
    command = [sys.executable, "-m", "trimtab", "deploy", "m", "--wait", "--timeout", timeout, "--url"]
    done = subprocess.run([*command, installation.url], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert sentence in done.stderr
    shown = next(line.split() for line in done.stdout.splitlines() if "serving-1" in line)
    assert shown[1:3] == [state, "1"]
    assert ("1.1.0: no memory" in done.stdout) is bool(replica["versions"])


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
    assert done.stderr.splitlines()[0] == "job-1 is submitted"


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
    *_, batch, labels = installation.asked
    assert batch.document["inputs"] == [{"x": 1.5, "port": "80", "n": 3}, {"x": None, "port": "443", "n": 4}]
    sent = [{"prediction_id": "a-0", "label": "dos"}, {"prediction_id": "a-1", "label": "normal"}]
    assert labels.document == {"model_id": "m", "labels": sent}


def _deployed(installation: Installation, *classes: str) -> None:
    routes = [{"version": "1.0.0", "weight": 90}, {"version": "1.1.0", "weight": 10}]
    installation.answer("GET", "/mlops/deployments/m", {"model_id": "m", "routes": routes})
    for version, known in (("1.0.0", classes[:-1]), ("1.1.0", classes)):
        installation.answer("GET", f"/mlops/models/m/{version}", {"signature": {"classes": known}})


def test_labels_that_the_model_does_not_know_are_refused_before_anything_is_sent(
    installation: Installation, tmp_path: Path
) -> None:
    _deployed(installation, "dos", "normal", "u2r")
    rows = tmp_path / "rows.csv"
    rows.write_text("prediction_id,x,label\na-0,1,u2r\na-1,1,neptune\na-2,1,smurf\n")
    for command in (("predict", "m", "--file", str(rows), "--labels", "label"), ("labels", "send", "m", str(rows))):
        with pytest.raises(InvalidInput, match=r"'neptune', 'smurf'; its classes are dos, normal, u2r"):
            _run(*command, url=installation.url)
    assert {asked.method for asked in installation.asked} == {"GET"}


def test_a_row_without_a_label_is_refused_before_anything_is_sent(installation: Installation, tmp_path: Path) -> None:
    rows = tmp_path / "rows.csv"
    rows.write_text("prediction_id,label\na-0,dos\na-1,\n")
    with pytest.raises(InvalidInput, match="every row needs"):
        _run("labels", "send", "m", str(rows), url=installation.url)
    with pytest.raises(InvalidInput, match="no column 'truth'"):
        _run("predict", "m", "--file", str(rows), "--labels", "truth", url=installation.url)
    assert {asked.method for asked in installation.asked} == {"GET"}


def test_labels_that_the_model_knows_are_sent_a_whole_number_as_its_class(
    installation: Installation, tmp_path: Path
) -> None:
    _deployed(installation, "1", "2", "3")
    installation.answer("POST", "/mlops/labels", {"accepted": 2}, 202)
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prediction_id": "a-0", "label": 3.0}\n{"prediction_id": "a-1", "label": "1"}\n')
    assert json.loads(_run("labels", "send", "m", str(rows), "--json", url=installation.url).stdout)["sent"] == 2


@pytest.mark.parametrize("content", ["", "prediction_id,label,x\n"])
def test_a_file_without_rows_is_refused(installation: Installation, tmp_path: Path, content: str) -> None:
    installation.answer("GET", "/v2/models/m", {"inputs": [{"name": "x", "datatype": "FP32"}]})
    rows = tmp_path / "rows.csv"
    rows.write_text(content)
    for command in (("predict", "m", "--file", str(rows)), ("labels", "send", "m", str(rows))):
        with pytest.raises(InvalidInput, match="holds no rows"):
            _run(*command, url=installation.url)


def test_the_version_that_serves_has_the_most_traffic(installation: Installation) -> None:
    _deployed(installation, "dos", "normal")
    with Client(installation.url) as client:
        assert serving_version(client, "m") == "1.0.0"
        with pytest.raises(NotFound, match="name the version, n:VERSION"):
            serving_version(client, "n")
        installation.answer("GET", "/mlops/deployments/m", {"model_id": "m", "routes": []})
        with pytest.raises(NotFound, match="nothing of m is deployed"):
            serving_version(client, "m")


@pytest.mark.parametrize("command", [("topics",), ("topics", "apply"), ("dlq", "list"), ("why", "m:1.0.0")])
def test_a_silent_broker_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    monkeypatch.delenv("TRIMTAB_KAFKA_BOOTSTRAP", raising=False)
    port = free_ports(1)[0]
    monkeypatch.setenv("TRIMTAB_BROKER_PORT", str(port))
    with pytest.raises(Unavailable, match=rf"at 127\.0\.0\.1:{port}: .*--kafka or TRIMTAB_KAFKA_BOOTSTRAP"):
        _run(*command)


def test_a_broker_without_a_port_is_refused() -> None:
    with pytest.raises(TrimtabError, match="HOST:PORT"):
        _run("topics", "--kafka", "here")


@pytest.mark.parametrize(
    "command",
    [
        ("up", "--offline", "--data-dir", "FILE"),
        ("schemas", "export", "FILE"),
        ("fetch-broker", "FILE"),
        ("keys", "create", "--admin"),
    ],
)
def test_a_folder_that_is_none_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: tuple[str, ...]
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv("TRIMTAB_DATA_DIR", str(file))
    with pytest.raises(LocalError, match=rf"{file} can't be"):
        _run(*(str(file) if word == "FILE" else word for word in command))


def test_a_wrong_server_configuration_is_refused_before_anything_starts(tmp_path: Path) -> None:
    config = tmp_path / "server.yaml"
    config.write_text("maxModelsInMemory: many\nmaxModles: 3\n")
    data = tmp_path / "data"
    with pytest.raises(InvalidInput, match=r"server\.yaml is no server configuration: .*maxModles"):
        _run("up", "--config", str(config), "--data-dir", str(data))
    with pytest.raises(InvalidInput, match="serving"):
        _run("up", "--config", str(config), "--data-dir", str(data), "--only", "registry")
    assert not data.exists()


def test_an_applied_server_configuration_says_what_is_not_built(capsys: pytest.CaptureFixture[str]) -> None:
    applied = {"max_models_in_memory": 3, "not_built": ["cacheTTL: predictions are not cached in this release"]}
    _say_applied(applied, as_json=False)
    told = capsys.readouterr().out
    assert "applied: max_models_in_memory 3" in told
    assert "not built: cacheTTL" in told
    _say_applied(applied, as_json=True)
    assert json.loads(capsys.readouterr().out) == {"event": "config", **applied}


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
