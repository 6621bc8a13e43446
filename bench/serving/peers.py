"""The known servers with the same model, each in an environment of its own under `bench/peers/`.

Each is set up as its own documentation has it for throughput on one machine, and with what the measurements in
`bench/README.md` showed to be its better setting: MLServer without worker processes and without batching (both are
slower here), LitServe and Ray Serve with batching, BentoML without (its batching dispatcher needs one more process).
All run ONNX Runtime with one thread but MLServer, whose own runtime for scikit-learn it is.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.cluster import ROOT, running
from bench.serving.models import tensor_body
from bench.serving.servers import Target
from trimtab.local.ports import free_ports

HERE = Path(__file__).parent
ENVIRONMENTS = ROOT / "bench" / "peers"


@dataclass(frozen=True)
class Peer:
    """One server: what to install, how to start it on a port, and where its requests go."""

    name: str
    packages: tuple[str, ...]
    command: Callable[[Path, Path, int], list[str]]
    """(the environment's bin, a folder with `mlp.onnx`, port) -> the command, which runs in that folder."""
    path: str

    @property
    def environment(self) -> Path:
        """Its virtual environment."""
        return ENVIRONMENTS / ("." + self.name.lower().replace(" ", "-"))


def _mlserver(binaries: Path, folder: Path, port: int) -> list[str]:
    script = HERE / "mlserver_model.py"
    subprocess.run([binaries / "python", "-W", "ignore", script, folder, str(port)], check=True)
    return [str(binaries / "mlserver"), "start", str(folder)]


def _bentoml(binaries: Path, folder: Path, port: int) -> list[str]:
    command = [str(binaries / "bentoml"), "serve", "bentoml_service:Model", "--working-dir", str(HERE)]
    return [*command, "--port", str(port), "--host", "127.0.0.1"]


def _script(name: str) -> Callable[[Path, Path, int], list[str]]:
    return lambda binaries, folder, port: [str(binaries / "python"), str(HERE / name), str(port)]


PEERS = (
    Peer("MLServer 1.7.1", ("mlserver==1.7.1", "mlserver-sklearn==1.7.1"), _mlserver, "/v2/models/mlp/infer"),
    Peer("BentoML 1.4.39", ("bentoml==1.4.39", "onnxruntime"), _bentoml, "/predict"),
    Peer("LitServe 0.2.19", ("litserve==0.2.19", "onnxruntime"), _script("litserve_server.py"), "/predict"),
    Peer("Ray Serve 2.60", ("ray[serve]==2.60.0", "onnxruntime"), _script("ray_server.py"), "/"),
)


def install(peer: Peer) -> None:
    """Make the peer's environment if it is not there yet."""
    complete = peer.environment / "complete"
    if complete.exists():
        return
    print(f"installing {peer.name} into {peer.environment.relative_to(ROOT)} ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(peer.environment)], check=True)
    pip = [str(peer.environment / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, *peer.packages], check=True)
    complete.touch()


@contextmanager
def started(peer: Peer, graph: Path, folder: Path) -> Iterator[list[Target]]:
    """The peer at 1 and 64 connections."""
    install(peer)
    folder.mkdir()
    (folder / "mlp.onnx").write_bytes(graph.read_bytes())
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}{peer.path}"
    binaries = peer.environment / "bin"
    environment = {
        "PATH": f"{binaries}:{os.environ['PATH']}",
        "BENCH_MODEL": str(folder / "mlp.onnx"),
        "BENTOML_DO_NOT_TRACK": "True",
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = peer.command(binaries, folder, port)
    with running(
        command, lambda: httpx.post(url, content=tensor_body("X"), headers=_JSON, timeout=5), environment, folder
    ) as pid:
        yield [Target(peer.name, c, url, tensor_body("X"), pid) for c in (1, 64)]


_JSON = {"content-type": "application/json"}
