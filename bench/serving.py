"""Requests per second of the public port: `/v2` JSON, one row of 20 floats, MLP 64-32 -> 6, one worker, prediction log
on, a real broker running, the load generator on the same cores.

Run: `python -m bench.serving [--seconds N] [--rounds N] [--peers]`. Beside it, in the same run: the bare loop, and with
`--peers` MLServer in an environment of its own under `bench/peers/.mlserver`, which is made when it is not there.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx

from bench.load import Load, generator, measure
from bench.machine import describe, table
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import DeploymentWanted, Route
from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.settings import Settings
from services.kernel.storage import open_store
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import ensure_jars, jar_cache
from trimtab.local.ports import free_ports

ROOT = Path(__file__).parent.parent
BARE, OURS, PEER = "bare loop (no validation, no log)", "trimtab", "MLServer 1.7.1"
FLOATS = [round(0.05 * i, 4) for i in range(20)]
CLASSES = tuple("abcdef")
NAMES = tuple(f"feature_{i}" for i in range(20))


def tensor_body(name: str) -> bytes:
    """One inference request."""
    return json.dumps({"inputs": [{"name": name, "shape": [1, 20], "datatype": "FP32", "data": FLOATS}]}).encode()


def train(path: Path) -> Signature:
    """The model as ONNX at `path`, with one tensor input, and its signature."""
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification
    from sklearn.neural_network import MLPClassifier

    x, y = make_classification(5_000, 20, n_informative=12, n_classes=6, random_state=0)
    x = x.astype("float32")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # how well it has converged does not matter here
        model = MLPClassifier((64, 32), max_iter=15, random_state=0).fit(x, y)
    path.write_bytes(to_onnx(model, x[:1], options={"zipmap": False}, target_opset=18).SerializeToString())
    return Signature(
        inputs=(Feature(name="X", dtype=DType.FLOAT32, shape=(20,)),),
        outputs=(
            Output(name="label", dtype=DType.INT64, role=OutputRole.LABEL),
            Output(name="probabilities", dtype=DType.FLOAT32, shape=(6,), role=OutputRole.PROBABILITIES),
        ),
        classes=CLASSES,
    )


def table_version(graph: Path, path: Path) -> Signature:
    """The same model with 20 named inputs in front, for `/mlops/predict`."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.load(graph)
    joined = helper.make_node("Concat", list(NAMES), ["X"], axis=1)
    model.graph.node.insert(0, joined)
    del model.graph.input[:]
    model.graph.input.extend(helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in NAMES)
    onnx.save(model, path)
    return Signature(
        inputs=tuple(Feature(name=name, dtype=DType.FLOAT32) for name in NAMES),
        outputs=(
            Output(name="label", dtype=DType.INT64, role=OutputRole.LABEL),
            Output(name="probabilities", dtype=DType.FLOAT32, shape=(6,), role=OutputRole.PROBABILITIES),
        ),
        classes=CLASSES,
    )


def publish(settings: Settings, directory: Path, model_id: str, signature: Signature) -> DeploymentWanted:
    """Store the version in `directory` and say that all traffic goes to it."""
    manifest = build_manifest(directory, model_id=model_id, framework="sklearn", signature=signature)
    write_manifest(directory, manifest)
    digest = store_version(open_store(settings), directory, f"models/{model_id}/1")
    route = Route(
        name="production", version="1.0.0", weight=100, artifact=f"models/{model_id}/1", manifest_digest=digest
    )
    return DeploymentWanted(model_id=model_id, revision=1, routes=(route,), since=datetime.now(UTC))


async def announce(settings: Settings, wanted: list[DeploymentWanted]) -> None:
    """Create the topics and put the wanted states into theirs."""
    await apply_topics(settings)
    producer = Producer(settings, "bench")
    await producer.start()
    for state in wanted:
        content_type, body = encode(state)
        envelope = Envelope(
            id=new_id(),
            source="bench",
            type=state.TYPE,
            time=datetime.now(UTC),
            revision=1,
            content_type=content_type,
        )
        await producer.send("deployments", body, key=state.key.encode(), headers=to_headers(envelope))
    await producer.stop()


@contextmanager
def running(
    command: list[str], probe: Callable[[], httpx.Response], environment: dict[str, str], cwd: Path = ROOT
) -> Iterator[int]:
    """A server process for which `probe` is answered with 200; its pid."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=os.environ | environment, cwd=cwd, stdout=quiet, stderr=quiet)
    try:
        deadline = time.monotonic() + 60
        while not _answered(probe):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _answered(probe: Callable[[], httpx.Response]) -> bool:
    try:
        return probe().status_code == 200
    except httpx.TransportError:
        return False


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


@dataclass(frozen=True)
class Target:
    """Something to put load on. `pid` is the process that answers."""

    server: str
    connections: int
    url: str
    body: bytes
    pid: int


@contextmanager
def bare_loop(graph: Path) -> Iterator[list[Target]]:
    """The bare loop at 1 and 64 connections."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "bench.bare_loop:app", "--port", str(port), "--http", "httptools"]
    command += ["--loop", "uvloop", "--no-access-log", "--log-level", "error", "--lifespan", "off"]
    url = f"http://127.0.0.1:{port}/v2/models/mlp/infer"
    environment = {"BARE_LOOP_MODEL": str(graph)}
    with running(command, lambda: httpx.post(url, content=tensor_body("X"), timeout=2), environment) as pid:
        yield [Target(BARE, c, url, tensor_body("X"), pid) for c in (1, 64)]


@contextmanager
def trimtab(settings: Settings) -> Iterator[list[Target]]:
    """Ours at 1 and 64 connections by V2, and at 64 by named features."""
    (port,) = free_ports(1)
    environment = {
        "TRIMTAB_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "TRIMTAB_DATA_DIR": str(settings.data_dir),
        "TRIMTAB_SERVING_PORT": str(port),
        "TRIMTAB_LOG_LEVEL": "warning",
    }
    base = f"http://127.0.0.1:{port}"
    named = json.dumps({"modelId": "table", "input": dict(zip(NAMES, FLOATS, strict=True))}).encode()
    command = [sys.executable, "-m", "services.serving"]
    with running(command, lambda: httpx.get(f"{base}/readyz", timeout=2), environment) as pid:
        url = f"{base}/v2/models/mlp/infer"
        targets = [Target(OURS, c, url, tensor_body("X"), pid) for c in (1, 64)]
        yield [*targets, Target(f"{OURS} (20 named features)", 64, f"{base}/mlops/predict", named, pid)]


@contextmanager
def mlserver() -> Iterator[list[Target]]:
    """MLServer at 1 and 64 connections, in an environment of its own."""
    home = ROOT / "bench" / "peers" / ".mlserver"
    python = home / "bin" / "python"
    if not python.exists():
        print("installing MLServer into bench/peers/.mlserver ...", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        packages = ["mlserver==1.7.1", "mlserver-sklearn==1.7.1"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory() as name:
        script = ROOT / "bench" / "peers" / "mlserver_model.py"
        subprocess.run([str(python), "-W", "ignore", str(script), name, str(port)], check=True)
        base = f"http://127.0.0.1:{port}/v2/models/mlp"
        command = [str(home / "bin" / "mlserver"), "start", name]
        with running(command, lambda: httpx.get(f"{base}/ready", timeout=2), {}, Path(name)) as pid:
            yield [Target(PEER, c, f"{base}/infer", tensor_body("X"), pid) for c in (1, 64)]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each server, in turn; the median counts")
    parser.add_argument("--peers", action="store_true", help="measure MLServer as well (installs it)")
    arguments = parser.parse_args()
    print(describe())
    print(f"load     {generator()}\n")
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        root = Path(name)
        settings = servers.enter_context(cluster(root))
        vector, named = root / "mlp", root / "table"
        vector.mkdir()
        named.mkdir()
        graph = vector / "model.onnx"
        wanted = [publish(settings, vector, "mlp", train(graph))]
        wanted.append(publish(settings, named, "table", table_version(graph, named / "model.onnx")))
        asyncio.run(announce(settings, wanted))
        targets = [*servers.enter_context(bare_loop(graph)), *servers.enter_context(trimtab(settings))]
        if arguments.peers:
            targets += servers.enter_context(mlserver())
        targets.sort(key=lambda target: target.connections)
        medians = measure_in_turn(targets, arguments.rounds, arguments.seconds)
        memory_mib = next(resident_mib(target.pid) for target in targets if target.server == OURS)
    report(medians)
    print(f"resident memory of our worker after the load: {memory_mib:.0f} MiB")


def measure_in_turn(targets: list[Target], rounds: int, seconds: int) -> dict[tuple[str, int], Load]:
    """The median load of every target. They take turns, so that a busy minute of the machine meets them all."""
    loads: dict[tuple[str, int], list[Load]] = {(target.server, target.connections): [] for target in targets}
    for _ in range(rounds):
        for target in targets:
            load = measure(target.url, target.body, target.pid, connections=target.connections, seconds=seconds)
            loads[target.server, target.connections].append(load)
    return {key: sorted(found, key=lambda load: load.requests_per_second)[rounds // 2] for key, found in loads.items()}


@contextmanager
def cluster(root: Path) -> Iterator[Settings]:
    """A real broker, and the settings that lead to it."""
    port, controller_port = free_ports(2)
    cache = Path(os.environ.get("TRIMTAB_CACHE_DIR") or Path.home() / ".cache" / "trimtab")
    jars = ensure_jars(jar_cache(cache), mirror_url=os.environ.get("TRIMTAB_MAVEN_MIRROR"))
    broker = LocalBroker(root / "broker", jars=jars, port=port, controller_port=controller_port)
    broker.start()
    settings = Settings(kafka_bootstrap=broker.bootstrap, data_dir=root / "data")
    settings.data_dir.mkdir()
    yield settings
    broker.stop()


def report(medians: dict[tuple[str, int], Load]) -> None:
    """The table, and what it means."""
    rows: list[dict[str, object]] = [
        {
            "server": server,
            "connections": connections,
            "req/s": load.requests_per_second,
            "p50 ms": load.p50_ms,
            "p99 ms": load.p99_ms,
            "CPU us/req": load.cpu_us,
            "failures": load.failures,
        }
        for (server, connections), load in medians.items()
    ]
    print(table(rows))
    ours, bare = medians[OURS, 64], medians[BARE, 64]
    print(
        f"\n64 connections: {ours.requests_per_second / bare.requests_per_second:.0%} of the bare loop's requests, ",
        end="",
    )
    print(f"{ours.cpu_us / bare.cpu_us:.2f} times its processor time a request, ", end="")
    print(f"{ours.p99_ms / bare.p99_ms:.2f} times its p99")
    print(f"1 connection: {medians[OURS, 1].p50_ms / medians[BARE, 1].p50_ms:.2f} times the bare loop's p50")
    if (PEER, 64) in medians:
        print(f"64 connections: {ours.requests_per_second / medians[PEER, 64].requests_per_second:.1f} times {PEER}")


if __name__ == "__main__":
    main()
