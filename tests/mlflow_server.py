"""A real MLflow tracking server for tests and benchmarks, in the environment of `requirements/mlflow.lock`."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from services.kernel.leash import leashed
from tests.environments import ROOT, locked_environment
from tests.waiting import until_sync
from trimtab.local.ports import LOOPBACK, free_ports

LOCK = ROOT / "requirements" / "mlflow.lock"
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@dataclass(frozen=True)
class MlflowServer:
    """Where the server is, its process and its environment's Python."""

    url: str
    pid: int
    python: Path

    def seed(self, folder: Path) -> dict[str, Any]:
        """Run `tests/mlflow_models.py` against it: what that logged, by its own words."""
        script = Path(__file__).with_name("mlflow_models.py")
        done = subprocess.run(
            [self.python, script, self.url, folder],
            env={**os.environ, **QUIET},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:]
        found: dict[str, Any] = json.loads((folder / "seeded.json").read_text())
        return found


@contextmanager
def running_mlflow_server(folder: Path) -> Iterator[MlflowServer]:
    """Start one with its SQLite store and its proxied artifacts in `folder`; stop it at the end."""
    python = locked_environment("mlflow", LOCK)
    (port,) = free_ports(1)
    options = ["--host", LOOPBACK, "--port", str(port), "--workers", "1"]
    options += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    options += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            leashed([python, "-m", "mlflow", "server", *options]),
            cwd=folder,
            env={**os.environ, **QUIET},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # it starts the process that answers
        )
    url = f"http://{LOOPBACK}:{port}"

    def answers() -> bool:
        assert process.poll() is None, (folder / "server.log").read_text("utf-8", "replace")[-3000:]
        try:
            return httpx.get(f"{url}/health", timeout=2, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    try:
        until_sync(answers, 120, "the MLflow server")
        yield MlflowServer(url, process.pid, python)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
