"""One large model over loopback until it is registered and durable: ours by the SDK, MLflow's by its artifact proxy."""

import hashlib
import http.client
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import psutil
from onnx import TensorProto, helper

from bench.registry.peer import Upload
from trimtab import Client

ROW = 64


@dataclass
class Sent:
    """What an upload took, and what the server's processes held in memory before and at most.

    `sending_seconds`: until the server has answered that it has all bytes (ours: verified and durable). `seconds`:
    until a version of them is registered.
    """

    size: int
    seconds: float = 0.0
    sending_seconds: float = 0.0
    before_mib: float = 0.0
    most_mib: float = 0.0

    @property
    def mb_per_second(self) -> float:
        """10^6 bytes a second, until it is registered."""
        return self.size / 1e6 / self.seconds

    @property
    def sent_mb_per_second(self) -> float:
        """10^6 bytes a second, until the server has them."""
        return self.size / 1e6 / self.sending_seconds


def write_graph(path: Path, size: int) -> Path:
    """An ONNX file with `size` random bytes in one table, of which the input chooses a row: none of it can be folded
    away when it is loaded, as little as the weights of a real model. No two are the same."""
    data = os.urandom(size // ROW * ROW)
    table = helper.make_tensor("table", TensorProto.UINT8, [size // ROW, ROW], data, raw=True)
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("Gather", ["table", "x"], ["picked"], axis=0),
        helper.make_node("Squeeze", ["picked", "axis"], ["row"]),
        helper.make_node("Cast", ["row"], ["y"], to=TensorProto.FLOAT),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.INT64, ["batch", 1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", ROW])]
    graph = helper.make_graph(nodes, "large", inputs, outputs, [table, axis])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    return path


def sha256_mb_per_second(path: Path) -> float:
    """SHA-256 of a file in the page cache, alone: no upload that verifies can be faster than that on one core."""
    with path.open("rb") as file:
        hashlib.file_digest(file, "sha256")
        file.seek(0)
        begun = time.perf_counter()
        hashlib.file_digest(file, "sha256")
        return path.stat().st_size / 1e6 / (time.perf_counter() - begun)


def to_trimtab(url: str, path: Path, pid: int) -> Sent:
    """Registered by the SDK: hashed, sent, checked, opened, durable, in the database."""
    with _watched(pid, path) as sent, Client(url, timeout_seconds=600) as client:

        def answered(response: httpx.Response) -> None:
            if response.request.method == "PUT":
                sent.sending_seconds = time.perf_counter() - begun

        def watch(http: httpx.Client) -> None:
            http.event_hooks = {"response": [answered]}

        client.over_http(watch)
        begun = time.perf_counter()
        client.register_model(path, model_id="large", changes="a large one")
        sent.seconds = time.perf_counter() - begun
    return sent


def to_mlflow(url: str, path: Path, pid: int, name: str) -> Sent:
    """Put through the artifact proxy, then named by a version. Neither checked nor opened."""
    target = Upload(url, name)
    with _watched(pid, path) as sent:
        begun = time.perf_counter()
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600, blocksize=1 << 20)
        with path.open("rb") as file:
            connection.request(
                "PUT",
                target.path,
                body=file,
                headers={"Content-Type": "application/octet-stream", "Content-Length": str(sent.size)},
            )
            answer = connection.getresponse()
            if answer.read() and answer.status >= 300:
                raise RuntimeError(f"MLflow answered the upload {answer.status}")
        connection.close()
        sent.sending_seconds = time.perf_counter() - begun
        target.register()
        sent.seconds = time.perf_counter() - begun
    return sent


def by_mlflows_client(url: str, path: Path, pid: int, name: str, python: Path) -> Sent:
    """As MLflow's users do it; its start is not counted."""
    script = Path(__file__).parents[1] / "peers" / "mlflow_upload.py"
    with _watched(pid, path) as sent:
        command = [str(python), "-W", "ignore", str(script), url, str(path), name]
        environment = os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true", "GIT_PYTHON_REFRESH": "quiet"}
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=600)
        sent.sending_seconds, sent.seconds = json.loads(done.stdout.splitlines()[-1])
    return sent


@contextmanager
def _watched(pid: int, path: Path) -> Iterator[Sent]:
    """Look at the resident memory of a process and its children until the end, but for those that open a graph."""
    sent = Sent(path.stat().st_size)
    process = psutil.Process(pid)
    ended = threading.Event()
    sent.before_mib = sent.most_mib = _resident_mib(process)

    def look() -> None:
        while not ended.wait(0.05):
            sent.most_mib = max(sent.most_mib, _resident_mib(process))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield sent
    finally:
        ended.set()
        watcher.join()


def _resident_mib(process: psutil.Process) -> float:
    found = process.memory_info().rss
    own = process.cmdline()
    for child in process.children(recursive=True):
        try:
            words = child.cmdline()  # those of its parent until it has become another program, and its memory too
            if words != own and not any("graph.py" in word for word in words):
                found += child.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return found / 2**20
