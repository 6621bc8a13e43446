"""The small parts of the local cluster: ports, locks, logs, settings, backoff, progress."""

import io
import json
import os
import socket
from pathlib import Path

import pytest

from trimtab.local.bounded_log import BoundedLog
from trimtab.local.broker_config import server_properties
from trimtab.local.cluster import LocalCluster
from trimtab.local.data_lock import DataLock
from trimtab.local.errors import DataDirBusy, PortTaken
from trimtab.local.kafka_probe import answers
from trimtab.local.ports import LOOPBACK, free_ports, require_free
from trimtab.local.processes import LONGEST_BACKOFF_SECONDS, backoff_seconds
from trimtab.local.progress import download_progress
from trimtab.local.settings import LocalSettings


def test_a_taken_port_is_named_with_its_setting_and_its_owner() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(PortTaken) as caught:
            require_free(port, setting="TRIMTAB_BROKER_PORT")
    assert f"Port {port} on 127.0.0.1 is taken by process {os.getpid()}" in caught.value.detail
    assert "TRIMTAB_BROKER_PORT" in caught.value.detail
    require_free(port, setting="TRIMTAB_BROKER_PORT")


def test_free_ports_differ() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20


def test_a_lock_has_one_holder(tmp_path: Path) -> None:
    first, second = DataLock(tmp_path / "lock"), DataLock(tmp_path / "lock")
    first.acquire()
    with pytest.raises(DataDirBusy, match=f"{tmp_path} is in use by process {os.getpid()}"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_a_log_is_bounded_and_keeps_the_latest(tmp_path: Path) -> None:
    log = BoundedLog(tmp_path / "logs" / "loop.log", max_bytes=100)
    writer = log.open()
    assert log.last_line() == ""
    for number in range(50):
        os.write(writer, f"line {number}\n\n".encode())
        log.trim()
    os.write(writer, b"line 50\n\n")
    os.close(writer)
    sizes = [path.stat().st_size for path in (tmp_path / "logs").iterdir()]
    assert len(sizes) == 2
    assert max(sizes) <= 110
    assert log.last_line() == "line 50"


def test_backoff_doubles_up_to_its_bound() -> None:
    assert [backoff_seconds(deaths) for deaths in (1, 2, 3)] == [0.5, 1.0, 2.0]
    assert backoff_seconds(10_000) == LONGEST_BACKOFF_SECONDS


def test_what_was_set_reaches_the_children_and_nothing_else(tmp_path: Path) -> None:
    settings = LocalSettings(serving_port=4006, data_dir=tmp_path, internal_key="secret", offline=True)
    variables = settings.environment()
    assert variables["TRIMTAB_SERVING_PORT"] == "4006"
    assert variables["TRIMTAB_DATA_DIR"] == str(tmp_path)
    assert variables["TRIMTAB_INTERNAL_KEY"] == "secret"
    assert "TRIMTAB_REGISTRY_PORT" not in variables
    assert LocalSettings.model_validate({}).embedded_broker or "TRIMTAB_KAFKA_BOOTSTRAP" in os.environ
    assert not LocalSettings(kafka_bootstrap="kafka:9092").embedded_broker


def test_keys_can_be_asked_for_without_a_secret_of_the_services(tmp_path: Path) -> None:
    settings = LocalSettings(auth="keys", data_dir=tmp_path)
    settings.check()
    cluster = LocalCluster(settings)
    assert len(cluster._child_environment()["TRIMTAB_INTERNAL_KEY"]) == 64
    assert LocalSettings(data_dir=tmp_path).internal_key != settings.internal_key


def test_onnx_runtime_sends_nothing_unless_it_is_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = LocalCluster(LocalSettings(data_dir=tmp_path))
    monkeypatch.delenv("ORT_DISABLE_TELEMETRY", raising=False)
    assert cluster._child_environment()["ORT_DISABLE_TELEMETRY"] == "1"
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "0")
    assert cluster._child_environment()["ORT_DISABLE_TELEMETRY"] == "0"


def test_the_broker_listens_on_loopback_only() -> None:
    settings = dict(line.split("=", 1) for line in server_properties(1, 2).splitlines())
    assert settings["listeners"] == "PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2"
    assert settings["auto.create.topics.enable"] == "false"


def test_an_open_port_that_is_no_broker_does_not_answer() -> None:
    with socket.create_server((LOOPBACK, 0)) as server:
        assert not answers(LOOPBACK, server.getsockname()[1], timeout_seconds=0.1)


def test_progress_off_a_terminal_is_json_lines() -> None:
    stream = io.StringIO()
    with download_progress("jars", stream) as progress:
        progress(10, 100)
        progress(20, 100)
        progress(100, 100)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["bytes"] for line in lines] == [10, 100]
    assert lines[-1]["seconds_left"] == 0


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_is_a_bar_and_nothing_when_there_was_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    idle, busy = Terminal(), Terminal()
    with download_progress("jars", idle):
        pass
    with download_progress("jars", busy) as progress:
        progress(100, 100)
    assert idle.getvalue().strip() == ""
    assert "jars" in busy.getvalue()
