"""The demo, played once for all tests and left running, and a cluster for the tests of this folder."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.kernel.settings import SERVICES
from tests.waiting import until_sync
from trimtab.local.ports import free_ports

DEMO_SECONDS = 400.0
STOP_SECONDS = 60.0
KEPT = ("TRIMTAB_CACHE_DIR", "TRIMTAB_MAVEN_MIRROR")


@dataclass
class Demo:
    """A played demo that still runs. `lines` are what it has told; `environment` leads a command to it."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]]
    environment: dict[str, str]
    folder: Path

    def line(self, event: str, step: str | None = None) -> dict[str, Any]:
        """The first line of an event, of a step."""
        return next(line for line in self.lines if line["event"] == event and step in (None, line.get("step")))

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.line("kept")["url"])

    def trimtab(self, *arguments: str) -> Any:
        """Run a command against it; its JSON document."""
        done = subprocess.run(
            [sys.executable, "-m", "trimtab", *arguments, "--json"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def stop(self) -> int:
        """Ctrl-C; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        return self.process.wait(STOP_SECONDS)


@pytest.fixture(scope="package")
def cluster_url(tmp_path_factory: pytest.TempPathFactory, broker_jars: Path) -> Iterator[str]:
    """Where a cluster of registry, serving and monitor answers; each test has models of its own there."""
    names = [*(f"{name}_port" for name in SERVICES), "metrics_port", "broker_port", "broker_controller_port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {**os.environ, **{f"TRIMTAB_{name.upper()}": str(port) for name, port in ports.items()}}
    chosen = ("--only", "registry,serving,monitor", "--data-dir", str(tmp_path_factory.mktemp("cluster") / "data"))
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "up", "--json", *chosen],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            told: dict[str, Any] = json.loads(line)
            if told["event"] == "up":
                yield told["url"]
                return
        raise AssertionError(f"the cluster ended with {process.wait()} and was never up")
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory, broker_jars: Path) -> Iterator[Demo]:
    """`trimtab demo --keep` on free ports, after its story. It is stopped at the end."""
    folder = tmp_path_factory.mktemp("demo")
    names = [*(f"{name}_port" for name in SERVICES), "metrics_port", "broker_port", "broker_controller_port"]
    ports = dict(zip(names, free_ports(len(names)), strict=True))
    environment = {name: value for name, value in os.environ.items() if name in KEPT or not name.startswith("TRIMTAB_")}
    environment |= {f"TRIMTAB_{name.upper()}": str(port) for name, port in ports.items()}
    environment |= {"TRIMTAB_URL": f"http://127.0.0.1:{ports['serving_port']}", "TRIMTAB_DATA_DIR": str(folder)}
    process = subprocess.Popen(
        [sys.executable, "-m", "trimtab", "demo", "--keep", "--json", "--data-dir", str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    lines: list[dict[str, Any]] = []
    noise: list[str] = []

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):
                lines.append(json.loads(line))
            else:
                noise.append(line)

    reader = threading.Thread(target=read)
    reader.start()
    played = Demo(process, lines, environment, folder)
    try:
        until_sync(
            lambda: process.poll() is not None or any(line["event"] == "kept" for line in lines),
            DEMO_SECONDS,
            "the end of the demo",
        )
        assert process.poll() is None, f"the demo failed: {lines[-1:]} {''.join(noise)[-3000:]}"
        yield played
    finally:
        played.stop()
        reader.join()
        assert process.stdout is not None
        process.stdout.close()
