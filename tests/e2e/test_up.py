"""`trimtab up`: in the foreground, with a configuration document, stopped in order, with the same data again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.kernel.settings import SERVICES
from trimtab import Client
from trimtab.local.ports import free_ports

pytestmark = [pytest.mark.timeout(300)]

REQUIREMENTS_EXAMPLE = {
    "maxModelsInMemory": 5,
    "preloadModels": [],
    "warmupOnLoad": True,
    "enableGPU": False,
    "cacheTTL": 3600,
    "healthCheckInterval": 60,
}


def _up(environment: dict[str, str], *arguments: str) -> tuple[subprocess.Popen[str], dict[str, Any]]:
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "up", "--json", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        told: dict[str, Any] = json.loads(line)
        if told["event"] == "up":
            return process, told
    raise AssertionError(f"it ended with {process.wait()} and was never up")


def _stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    assert process.stdout is not None
    told = [json.loads(line) for line in process.stdout]
    parts = [line["part"] for line in told if "part" in line]
    assert parts[-1] == "broker", "the broker stops last"
    process.stdout.close()
    return process.wait(30)


def test_up_takes_the_servers_document_and_goes_on_with_the_same_data(tmp_path: Path, broker_jars: Path) -> None:
    names = [*(f"{name}_port" for name in SERVICES), "metrics_port", "broker_port", "broker_controller_port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {**os.environ, **{f"TRIMTAB_{name.upper()}": str(port) for name, port in ports.items()}}
    document = tmp_path / "server.json"
    document.write_text(json.dumps(REQUIREMENTS_EXAMPLE))
    chosen = ("--data-dir", str(tmp_path / "data"), "--only", "registry,serving")

    process, told = _up(environment, *chosen, "--config", str(document))
    with Client(told["url"]) as client:
        assert client.serving_config()["max_models_in_memory"] == 5
        assert client.models()["models"] == []
    assert _stop(process) == 128 + signal.SIGTERM

    process, told = _up(environment, *chosen)
    with Client(told["url"]) as client:
        assert client.serving_config()["max_models_in_memory"] == 5
    assert _stop(process) == 128 + signal.SIGTERM


def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "trimtab", "up", "--port", port, "--data-dir", str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert port in line
    assert "TRIMTAB_SERVING_PORT" in line
