"""The runner as a process on its device, without anything else."""

import json
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.integration.edge.conftest import BARE, Device
from tests.integration.edge.test_edge import rows
from tests.serving_models import TABLE, table_model
from tests.unit.edge.conftest import archive_of
from trimtab.edge.bundling import write_bundle
from trimtab.edge.runner.backlog import next_load
from trimtab.edge.runner.segments import lives


@pytest.fixture
def device(make_device: Callable[[Path], Device], tmp_path: Path) -> Device:
    """A device with the table model."""
    bundle = tmp_path / "bundle.zip"
    with bundle.open("wb") as file:
        write_bundle(archive_of(tmp_path / "made", "threats", TABLE, table_model), file)
    return make_device(bundle)


def logged_ids(device: Device) -> set[str]:
    """The ids of all rows in the log."""
    found = set()
    for folder in lives(device.log):
        load = next_load(folder, 0, max_rows=1 << 40, max_bytes=1 << 40)
        found |= {f"{folder.name}-{row['n']}" for row in (load.rows if load else [])}
    return found


def test_a_stopping_server_answers_what_it_has_begun(device: Device) -> None:
    edge = device.serve()
    answered: list[str] = []
    failed: list[int] = []

    def ask(seed: int) -> None:
        with httpx.Client(trust_env=False) as client:
            for row in rows(5000, seed):
                try:
                    answer = client.post(f"{edge.url}/predict", json={"input": row})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    answered.append(answer.json()["prediction_id"])
                else:
                    failed.append(answer.status_code)
                    return

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    while len(answered) < 200:
        assert edge.process.poll() is None
    edge.process.send_signal(signal.SIGTERM)
    assert edge.process.wait(20) == 0
    for thread in threads:
        thread.join()
    assert set(failed) <= {503}
    assert len(set(answered)) == len(answered)
    assert set(answered) <= logged_ids(device)


def test_calls_one_after_the_other_are_one_life_and_at_once_several(device: Device) -> None:
    ids = [device.answer("predict", "--input", json.dumps(row))["prediction_id"] for row in rows(3)]
    assert len({name.rpartition("-")[0] for name in ids}) == 1
    assert [name.rpartition("-")[2] for name in ids] == ["0", "1", "2"]
    edge = device.serve()
    beside = device.answer("predict", "--input", json.dumps(rows(1)[0]))["prediction_id"]
    assert beside.rpartition("-")[0] != edge.incarnation == ids[0].rpartition("-")[0]


def test_a_full_log_refuses_or_sheds_as_it_is_told(device: Device) -> None:
    text = "\n".join(json.dumps(row) for row in rows(1000))
    full = device.run("predict", "--file", "-", "--budget", "64K", stdin=text)
    assert (full.returncode, "log is full" in full.stderr or "could not be logged" in full.stderr) == (75, True)
    shed = device.run("predict", "--file", "-", "--budget", "64K", "--when-full", "shed", stdin=text)
    assert shed.returncode == 0
    assert len(shed.stdout.splitlines()) == 1000
    state = device.answer("status")
    assert state["lives"][0]["missing_rows"] + state["lives"][0]["waiting_rows"] >= 1000
    assert state["bytes"] <= 64 << 10


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("predict",), 2),
        (("predict", "--input", "{}", "--budget", "1K"), 2),
        (("predict", "--file", "nowhere.jsonl"), 1),
        (("serve", "--host", "0.0.0.0"), 1),
        (("forward", "--to", "http://gateway.example"), 1),
        (("forward", "--to", "http://127.0.0.1:1", "--api-key-file", "nowhere"), 1),
        (("forward", "--to", "http://127.0.0.1:1"), 0),
        (("status", "--bundle", "/nowhere"), 1),
    ],
)
def test_wrong_use_is_said_in_a_line(device: Device, arguments: tuple[str, ...], status: int) -> None:
    done = device.run(*arguments)
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr


def test_the_environment_is_bare(edge_python: Path, tmp_path: Path) -> None:
    names = ["trimtab", "schemas", "services", "pydantic", "httpx", "pyarrow", "onnx", "msgspec"]
    code = f"import importlib.util as u; print([n for n in {names} if u.find_spec(n)])"
    command = [str(edge_python), "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=BARE, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
