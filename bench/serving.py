"""Requests per second of the public port: `/v2` JSON, one row of 20 floats, MLP 64-32 -> 6, one worker, prediction log
on, a real broker running, the load generator on the same cores.

Run: `python -m bench.serving [--seconds N] [--peers]`. Beside it, in the same run: the bare loop, and with `--peers`
MLServer in an environment of its own under `bench/peers/.mlserver`, which is made when it is not there.
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
from collections.abc import Iterator
from contextlib import contextmanager
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
NOWHERE = subprocess.DEVNULL
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
def running(command: list[str], ready_url: str, environment: dict[str, str], cwd: Path = ROOT) -> Iterator[int]:
    """A server process that answers `ready_url`; its pid."""
    process = subprocess.Popen(command, env=os.environ | environment, cwd=cwd, stdout=NOWHERE, stderr=NOWHERE)
    try:
        deadline = time.monotonic() + 60
        while not _answers(ready_url):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not answer {ready_url}")
            time.sleep(0.1)
        yield process.pid
    finally:
        process.terminate()
        process.wait(30)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def bench_bare(graph: Path, seconds: int) -> dict[str, Load]:
    """The bare loop at 1 and 64 connections."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "bench.bare_loop:app", "--port", str(port), "--http", "httptools"]
    command += ["--loop", "uvloop", "--no-access-log", "--log-level", "error", "--lifespan", "off"]
    url = f"http://127.0.0.1:{port}/v2/models/mlp/infer"
    process = subprocess.Popen(command, env=os.environ | {"BARE_LOOP_MODEL": str(graph)}, cwd=ROOT)
    try:
        _wait_for_post(url, tensor_body("X"), process)
        return {str(c): measure(url, tensor_body("X"), process.pid, connections=c, seconds=seconds) for c in (1, 64)}
    finally:
        process.terminate()
        process.wait(30)


def _wait_for_post(url: str, body: bytes, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.post(url, content=body, timeout=2)
            return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"nothing answers {url}")


def bench_trimtab(settings: Settings, seconds: int) -> tuple[dict[str, Load], float]:
    """Ours at 1 and 64 connections by V2, and 64 by named features; resident memory at the end."""
    (port,) = free_ports(1)
    environment = {
        "TRIMTAB_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "TRIMTAB_DATA_DIR": str(settings.data_dir),
        "TRIMTAB_SERVING_PORT": str(port),
        "TRIMTAB_LOG_LEVEL": "warning",
    }
    base = f"http://127.0.0.1:{port}"
    named = json.dumps({"modelId": "table", "input": dict(zip(NAMES, FLOATS, strict=True))}).encode()
    with running([sys.executable, "-m", "services.serving"], f"{base}/v2/models/table/ready", environment) as pid:
        url = f"{base}/v2/models/mlp/infer"
        loads = {str(c): measure(url, tensor_body("X"), pid, connections=c, seconds=seconds) for c in (1, 64)}
        loads["named"] = measure(f"{base}/mlops/predict", named, pid, connections=64, seconds=seconds)
        return loads, resident_mib(pid)


def bench_mlserver(seconds: int) -> dict[str, Load]:
    """MLServer at 1 and 64 connections."""
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
        base = f"http://127.0.0.1:{port}"
        command = [str(home / "bin" / "mlserver"), "start", name]
        with running(command, f"{base}/v2/models/mlp/ready", {}, Path(name)) as pid:
            url = f"{base}/v2/models/mlp/infer"
            return {str(c): measure(url, tensor_body("X"), pid, connections=c, seconds=seconds) for c in (1, 64)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=8, help="length of one measurement")
    parser.add_argument("--peers", action="store_true", help="measure MLServer as well (installs it)")
    arguments = parser.parse_args()
    print(describe())
    print(f"load     {generator()}\n")
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        settings, broker = _cluster(root)
        try:
            vector, named = root / "mlp", root / "table"
            vector.mkdir()
            named.mkdir()
            graph = vector / "model.onnx"
            wanted = [publish(settings, vector, "mlp", train(graph))]
            wanted.append(publish(settings, named, "table", table_version(graph, named / "model.onnx")))
            asyncio.run(announce(settings, wanted))
            bare = bench_bare(graph, arguments.seconds)
            ours, memory_mib = bench_trimtab(settings, arguments.seconds)
            peer = bench_mlserver(arguments.seconds) if arguments.peers else None
        finally:
            broker.stop()
    _print(bare, ours, peer, memory_mib)


def _cluster(root: Path) -> tuple[Settings, LocalBroker]:
    port, controller_port = free_ports(2)
    cache = Path(os.environ.get("TRIMTAB_CACHE_DIR") or Path.home() / ".cache" / "trimtab")
    jars = ensure_jars(jar_cache(cache), mirror_url=os.environ.get("TRIMTAB_MAVEN_MIRROR"))
    broker = LocalBroker(root / "broker", jars=jars, port=port, controller_port=controller_port)
    broker.start()
    settings = Settings(kafka_bootstrap=broker.bootstrap, data_dir=root / "data")
    settings.data_dir.mkdir()
    return settings, broker


def _print(bare: dict[str, Load], ours: dict[str, Load], peer: dict[str, Load] | None, memory_mib: float) -> None:
    rows: list[dict[str, object]] = []

    def add(server: str, connections: str, load: Load) -> None:
        rows.append(
            {
                "server": server,
                "connections": int(connections),
                "req/s": load.requests_per_second,
                "p50 ms": load.p50_ms,
                "p99 ms": load.p99_ms,
                "CPU us/req": load.cpu_us,
                "failures": load.failures,
            }
        )

    for connections in ("1", "64"):
        add("bare loop (no validation, no log)", connections, bare[connections])
        add("trimtab /v2, JSON", connections, ours[connections])
        if peer is not None:
            add("MLServer 1.7.1", connections, peer[connections])
    add("trimtab /mlops/predict, 20 named features", "64", ours["named"])
    print(table(rows))
    times = ours["64"].cpu_us / bare["64"].cpu_us
    print(f"\n64 connections: {times:.2f} times the bare loop's processor time a request, ", end="")
    share = ours["64"].requests_per_second / bare["64"].requests_per_second
    print(f"{share:.0%} of its requests, ", end="")
    print(f"p99 {ours['64'].p99_ms / bare['64'].p99_ms:.2f} times the bare loop's")
    print(f"1 connection: p50 {ours['1'].p50_ms / bare['1'].p50_ms:.2f} times the bare loop's")
    if peer is not None:
        times = ours["64"].requests_per_second / peer["64"].requests_per_second
        print(f"64 connections: {times:.1f} times MLServer's requests")
    print(f"resident memory of the worker after the load: {memory_mib:.0f} MiB")


if __name__ == "__main__":
    main()
