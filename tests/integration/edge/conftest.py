"""Bundles in an environment that has nothing of ours, beside a real registry, serving process and broker."""

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import httpx
import pytest

from schemas.events import ModelRegistered, Route
from tests.environments import ROOT, locked_environment
from tests.integration.serving.conftest import Cluster, Replica
from tests.integration.serving.conftest import client as client
from tests.integration.serving.conftest import cluster as cluster
from tests.registry_process import RegistryProcess
from tests.serving_models import TABLE, table_model
from trimtab import Client

MODEL = "threats"


@pytest.fixture(scope="session")
def edge_python() -> Path:
    """The Python of an environment with ONNX Runtime and NumPy, and nothing else."""
    return locked_environment("edge", ROOT / "requirements" / "edge.lock")


@dataclass
class Device:
    """An unpacked bundle and the processes that run it."""

    folder: Path
    python: Path
    log: Path
    processes: "list[subprocess.Popen[str]]" = field(default_factory=list)

    def command(self, *arguments: str) -> list[str]:
        """One call of the runner."""
        return [str(self.python), "-m", "trimtab_edge", *arguments, "--log", str(self.log), "--replica", "gate-7"]

    def run(self, *arguments: str, stdin: str | None = None) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        command = self.command(*arguments)
        return subprocess.run(
            command, cwd=self.folder, env=BARE, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def answer(self, *arguments: str) -> dict[str, Any]:
        """The JSON that a command prints; it must succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def serve(self, *arguments: str) -> "EdgeProcess":
        """Start `serve`; returns once it listens."""
        process = subprocess.Popen(
            self.command("serve", "--port", "0", *arguments),
            cwd=self.folder,
            env=BARE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        return EdgeProcess(process, told["listening"], told["incarnation"])

    def watch(self, url: str, seconds: float = 0.05) -> "subprocess.Popen[str]":
        """Start `forward --watch`."""
        command = self.command("forward", "--to", url, "--watch", str(seconds))
        process = subprocess.Popen(command, cwd=self.folder, env=BARE, stderr=subprocess.DEVNULL, text=True)
        self.processes.append(process)
        return process


@dataclass
class EdgeProcess:
    """A running `serve`."""

    process: "subprocess.Popen[str]"
    url: str
    incarnation: str

    def kill(self) -> None:
        """Without warning."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


BARE = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TRIMTAB"))}
"""What a device's processes inherit: nothing that leads to our own packages."""


@pytest.fixture
def make_device(edge_python: Path, tmp_path: Path) -> Iterator[Callable[[Path], Device]]:
    """Unpacks bundles; whatever still runs of them is killed at the end."""
    made: list[Device] = []

    def make(bundle: Path) -> Device:
        folder = tmp_path / f"device-{len(made)}"
        with ZipFile(bundle) as archive:
            archive.extractall(folder)
        (inside,) = folder.iterdir()
        made.append(Device(inside, edge_python, tmp_path / f"edge-log-{len(made)}"))
        return made[-1]

    yield make
    for device in made:
        for process in device.processes:
            if process.poll() is None:
                process.kill()
            process.wait(10)
            if process.stdout is not None:
                process.stdout.close()


@dataclass
class Site:
    """A registry with one registered version, which a serving process answers."""

    cluster: Cluster
    registry: RegistryProcess
    replica: Replica
    version: str
    bundle: Path
    registered: ModelRegistered
    route: Route

    @property
    def signature_digest(self) -> str:
        """What a device names the signature by."""
        with ZipFile(self.bundle) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("bundle.json")]
            return str(json.loads(archive.read(name))["signature_digest"])


@pytest.fixture
async def site(cluster: Cluster, client: httpx.AsyncClient, tmp_path: Path) -> AsyncIterator[Site]:
    """The table model, registered, deployed and exported."""
    registry = await asyncio.to_thread(RegistryProcess, cluster.settings.data_dir)
    try:
        bundle = tmp_path / "bundle.zip"
        found = await asyncio.to_thread(_register, registry.url, tmp_path, bundle)
        registered = ModelRegistered(
            model_id=MODEL,
            version=found["version"],
            artifact=found["artifact"],
            manifest_digest=found["manifest_digest"],
            content_digest=found["content_digest"],
        )
        route = Route.model_validate({"name": "production", "weight": 100, **registered.model_dump()})
        await cluster.want(MODEL, route)
        replica = cluster.start(TRIMTAB_REGISTRY_URL=registry.url)
        await replica.ready(client)
        yield Site(cluster, registry, replica, found["version"], bundle, registered, route)
    finally:
        registry.kill()


def _register(url: str, folder: Path, bundle: Path) -> dict[str, Any]:
    with Client(url) as registry:
        graph = table_model(folder / "model.onnx")
        signature = TABLE.model_dump(mode="json")
        version = registry.register_model(graph, model_id=MODEL, signature=signature)["version"]
        assert registry.export_edge(MODEL, version, bundle) == bundle.stat().st_size
        return registry.version(MODEL, version)  # type: ignore[no-any-return]
