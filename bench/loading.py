"""What loading a large model does to another that answers: p99 of A under a constant rate while B is loaded, replaced
and freed, and without. And what one worker more costs in memory.

Run: `python -m bench.loading [--mib N] [--rate N] [--loads N] [--workers N]`. A is the network of `bench.serving`; B
has random weights of `--mib`, new ones at each load, so that it is fetched, hashed, opened and warmed each time, and
the one before it freed. Latencies count from the moment at which a request was due, so that a stall counts for all that
it held up.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np

from bench.cluster import ROOT, cluster, family
from bench.machine import describe, table
from bench.serving.models import announce, publish, train
from bench.serving.servers import Target, trimtab
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import DeploymentWanted, Route
from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.bus.producer import Producer
from services.kernel.settings import Settings
from services.kernel.storage import open_store

CONNECTIONS = 8
QUIET_SECONDS = 3.0
AFTER_SECONDS = 1.0
"""What still counts as loading once B answers: the version before it is freed then."""
_WIDTH = 1024
_SIGNATURE = Signature(
    inputs=(Feature(name="X", dtype=DType.FLOAT32, shape=(20,)),),
    outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(1,), role=OutputRole.VALUE),),
)


@dataclass(frozen=True)
class Split:
    """Latencies in milliseconds, without and with a load under way, and how long the loads took."""

    quiet: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    loading: "np.ndarray[tuple[int], np.dtype[np.float64]]"
    load_seconds: list[float]


def heavy(path: Path, mib: int, seed: int) -> None:
    """A chain of matrices of 4 MiB each, as ONNX at `path`."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(seed)
    layers = max(mib // 4, 1)
    shapes = [(20, _WIDTH), *[(_WIDTH, _WIDTH)] * layers, (_WIDTH, 1)]
    weights = [
        numpy_helper.from_array(rng.standard_normal(shape, dtype=np.float32) * np.float32(0.03), f"w{i}")
        for i, shape in enumerate(shapes)
    ]
    names = ["X", *[f"h{i}" for i in range(len(shapes) - 1)], "y"]
    nodes = [helper.make_node("MatMul", [names[i], f"w{i}"], [names[i + 1]]) for i in range(len(shapes))]
    graph = helper.make_graph(
        nodes,
        "heavy",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 20])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def publish_heavy(settings: Settings, root: Path, mib: int, number: int) -> DeploymentWanted:
    """Store the version `1.0.number` of B; the state that wants it."""
    directory = root / f"heavy-{number}"
    directory.mkdir()
    heavy(directory / "model.onnx", mib, number)
    write_manifest(directory, build_manifest(directory, model_id="heavy", framework="onnx", signature=_SIGNATURE))
    artifact = f"models/heavy/{number}"
    digest = store_version(open_store(settings), directory, artifact)
    route = Route(name="production", version=f"1.0.{number}", weight=100, artifact=artifact, manifest_digest=digest)
    return DeploymentWanted(model_id="heavy", revision=number, routes=(route,), since=datetime.now(UTC))


async def load_again_and_again(
    settings: Settings, target: Target, states: list[DeploymentWanted]
) -> list[tuple[float, float]]:
    """Deploy `states` one after the other, with pauses; when each began and was over (`time.time()`)."""
    base = target.url.partition("/v2/")[0]
    windows = []
    producer = Producer(settings, "bench")
    await producer.start()
    async with httpx.AsyncClient(timeout=5) as client:
        for state in states:
            await asyncio.sleep(QUIET_SECONDS)
            began = time.time()
            content_type, body = encode(state)
            envelope = Envelope(
                id=new_id(),
                source="bench",
                type=state.TYPE,
                time=datetime.now(UTC),
                revision=state.revision,
                content_type=content_type,
            )
            await producer.send("deployments", body, key=state.key.encode(), headers=to_headers(envelope))
            ready = f"{base}/v2/models/heavy/versions/{state.routes[0].version}/ready"
            while (await client.get(ready)).status_code != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
            windows.append((began, time.time() + AFTER_SECONDS))
            await asyncio.sleep(AFTER_SECONDS)
        await asyncio.sleep(QUIET_SECONDS)
    await producer.stop()
    return windows


async def constant_load(url: str, body: bytes, rate: float, until: Path) -> list[tuple[float, float]]:
    """(due, latency in seconds) of every request, at `rate` a second over `CONNECTIONS`, while `until` exists."""
    parts = urlsplit(url)
    head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    taken: list[tuple[float, float]] = []

    async def one(number: int) -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        due = time.time() + number / rate
        while until.exists():  # noqa: ASYNC240 - a look at a local file, once a request of the generator
            await asyncio.sleep(max(0.0, due - time.time()))
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = answer.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]
            await reader.readexactly(int(length))
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer.decode("latin-1"))
            taken.append((due, time.time() - due))
            due += CONNECTIONS / rate
        writer.close()

    await asyncio.gather(*(one(number) for number in range(CONNECTIONS)))
    return taken


def measure(settings: Settings, target: Target, states: list[DeploymentWanted], rate: float, root: Path) -> Split:
    """The latencies of `target` while `states` are deployed one after the other."""
    flag, body, found = root / "running", root / "body", root / "found.json"
    flag.touch()
    body.write_bytes(target.body)
    command = [sys.executable, "-m", "bench.loading", "--generate", target.url, str(body), str(flag), str(found)]
    generator = subprocess.Popen([*command, "--rate", str(rate)], cwd=ROOT)
    try:
        windows = asyncio.run(load_again_and_again(settings, target, states))
    finally:
        flag.unlink()
        generator.wait(30)
    taken = np.array(json.loads(found.read_text()))
    taken = taken[taken[:, 0] > taken[0, 0] + 1.0]  # the first second warms up
    loading = np.zeros(len(taken), dtype=bool)
    for began, over in windows:
        loading |= (taken[:, 0] >= began) & (taken[:, 0] <= over)
    seconds = [over - AFTER_SECONDS - began for began, over in windows]
    return Split(taken[~loading, 1] * 1e3, taken[loading, 1] * 1e3, seconds)


def worker_memory(settings: Settings, workers: int) -> dict[str, object]:
    """Resident and proportional memory of all processes of a server with so many workers."""
    with trimtab(settings, workers=workers) as targets:
        infos = [process.memory_full_info() for process in family(targets[0].pid)]
        resident, proportional = sum(info.rss for info in infos), sum(info.pss for info in infos)
    return {"workers": workers, "processes": len(infos), "RSS MiB": resident / 2**20, "PSS MiB": proportional / 2**20}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=300, help="size of B")
    parser.add_argument("--rate", type=float, default=400, help="requests a second to A")
    parser.add_argument("--loads", type=int, default=4, help="how often B is loaded")
    parser.add_argument("--workers", type=int, default=3, help="memory is measured with 1 to so many workers; 0: not")
    parser.add_argument("--generate", nargs=4, metavar=("URL", "BODY", "FLAG", "FOUND"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.generate:
        url, body, flag, found = arguments.generate
        taken = asyncio.run(constant_load(url, Path(body).read_bytes(), arguments.rate, Path(flag)))
        Path(found).write_text(json.dumps(taken))
        return
    print(describe())
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        root = Path(name)
        settings = stack.enter_context(cluster(root))
        (root / "mlp").mkdir()
        asyncio.run(announce(settings, [publish(settings, root / "mlp", "mlp", train(root / "mlp" / "model.onnx"))]))
        states = [publish_heavy(settings, root, arguments.mib, number) for number in range(1, arguments.loads + 1)]
        with trimtab(settings) as targets:
            split = measure(settings, targets[0], states, arguments.rate, root)
        report(split, arguments)
        rows = [worker_memory(settings, count) for count in range(1, arguments.workers + 1)]
    print(table(rows))


def report(split: Split, arguments: argparse.Namespace) -> None:
    """The table, and what it means."""
    rows: list[dict[str, object]] = [
        {
            "": name,
            "requests": len(taken),
            "p50 ms": float(np.percentile(taken, 50)),
            "p99 ms": float(np.percentile(taken, 99)),
            "p99.9 ms": float(np.percentile(taken, 99.9)),
            "longest ms": float(taken.max()),
        }
        for name, taken in (("A alone", split.quiet), (f"while B of {arguments.mib} MiB is loaded", split.loading))
    ]
    print(table(rows))
    seconds = ", ".join(f"{one:.1f}" for one in split.load_seconds)
    ratio = np.percentile(split.loading, 99) / np.percentile(split.quiet, 99)
    print(f"\nB answered after {seconds} s; A's p99 meanwhile was {ratio:.2f} times that without (wanted: under 2)\n")


if __name__ == "__main__":
    main()
