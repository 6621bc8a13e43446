"""The public port: `/v2` JSON, one row of 20 floats, MLP 64-32 -> 6, one worker, prediction log on, a real broker
running, the load generator on the same cores. Beside it, in the same run: the bare loop, and with `--peers` MLServer,
BentoML, LitServe and Ray Serve, each in an environment of its own (made when it is missing).

Run: `python -m bench.serving [--seconds N] [--rounds N] [--peers] [--soak MINUTES] [--json FILE]`.
"""

import argparse
import asyncio
import json
import statistics
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench.cluster import cluster, resident_mib
from bench.load import Load, generator, measure
from bench.machine import describe, table
from bench.serving import rows
from bench.serving.models import announce, publish, table_version, train, wide_version
from bench.serving.peers import PEERS, started
from bench.serving.servers import BARE, NAMED, OURS, Target, bare_loop, trimtab
from bench.serving.soak import Soak, soak

Loads = dict[tuple[str, int], Load]
RowRates = dict[str, dict[str, rows.RowRate]]
ALONE = "ONNX Runtime alone"
BINARY_CONNECTIONS = (1, 4)

SHARE_OF_BARE = 0.60
P99_TIMES = 2.0
P50_TIMES = 1.5
PEER_TIMES = 10.0
SHARE_OF_RUNTIME = 0.80


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=3, help="length of one measurement")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each server, in turn; the median counts")
    parser.add_argument("--peers", action="store_true", help="measure the known servers as well (installs them)")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="look at the worker's memory under load as well")
    parser.add_argument("--json", type=Path, help="write every figure to this file as well")
    arguments = parser.parse_args()
    machine = f"{describe()}\nload     {generator()}\n"
    print(machine)
    figures: dict[str, Any] = {"machine": machine}
    with tempfile.TemporaryDirectory() as name, ExitStack() as servers:
        root = Path(name)
        settings = servers.enter_context(cluster(root))
        vector, named, wide = root / "mlp", root / "table", root / "wide"
        for folder in (vector, named, wide):
            folder.mkdir()
        graph = vector / "model.onnx"
        wanted = [publish(settings, vector, "mlp", train(graph))]
        wanted.append(publish(settings, named, "table", table_version(graph, named / "model.onnx")))
        wide_graph = wide / "model.onnx"
        wanted.append(publish(settings, wide, "wide", wide_version(wide_graph)))
        asyncio.run(announce(settings, wanted))
        ours = servers.enter_context(trimtab(settings))
        before = resident_mib(ours[0].pid)
        targets = [*servers.enter_context(bare_loop(graph)), *ours]
        medians = measure_in_turn(targets, arguments.rounds, arguments.seconds)
        graphs = {"mlp": graph, "wide": wide_graph}
        binary = {
            name: measure_rows(path, to_model(ours[0], name), arguments.rounds, arguments.seconds)
            for name, path in graphs.items()
        }
        after = resident_mib(ours[0].pid)
        soaked = soak(ours[1], arguments.soak) if arguments.soak else None
        if arguments.peers:  # one at a time: several of them keep processes busy that nobody asks
            medians |= beside_peers(graph, root, [*targets[:2], *ours[:2]], arguments.rounds, arguments.seconds)
    print(speeds(medians))
    print(binary_table(binary))
    print(f"\nresident memory of our worker: {before:.0f} MiB before the load, {after:.0f} after it")
    if soaked is not None:
        print(
            f"over {soaked.minutes[-1]:.0f} minutes and {soaked.requests:,} requests: {soaked.slope:+.2f} MiB a minute"
        )
    for line in verdicts(medians, binary, soaked):
        print(line)
    if arguments.json:
        figures["loads"] = [{"server": s, "connections": c, **asdict(load)} for (s, c), load in medians.items()]
        figures["binary"] = {m: {n: asdict(rate) for n, rate in rates.items()} for m, rates in binary.items()}
        figures["resident_mib"] = {"before": before, "after": after}
        figures["soak"] = asdict(soaked) if soaked else None
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


def measure_in_turn(targets: list[Target], rounds: int, seconds: int) -> Loads:
    """The median load of every target. They take turns, so that a busy minute of the machine meets them all."""
    loads: dict[tuple[str, int], list[Load]] = {}
    for _ in range(rounds):
        for target in sorted(targets, key=lambda target: target.connections):
            load = measure(target.url, target.body, target.pid, connections=target.connections, seconds=seconds)
            loads.setdefault((target.server, target.connections), []).append(load)
    return {key: median(found) for key, found in loads.items()}


def median(loads: list[Load]) -> Load:
    """Each figure's own median."""
    return Load(
        requests_per_second=statistics.median(load.requests_per_second for load in loads),
        p50_ms=statistics.median(load.p50_ms for load in loads),
        p99_ms=statistics.median(load.p99_ms for load in loads),
        failures=sum(load.failures for load in loads),
        cpu_us=statistics.median(load.cpu_us for load in loads),
    )


def beside_peers(graph: Path, root: Path, known: list[Target], rounds: int, seconds: int) -> Loads:
    """Every peer's loads."""
    found: Loads = {}
    for number, peer in enumerate(PEERS):
        with started(peer, graph, root / f"peer-{number}") as targets:
            found |= measure_in_turn(targets, rounds, seconds)
    return found


def measure_rows(graph: Path, target: Target, rounds: int, seconds: int) -> dict[str, rows.RowRate]:
    """1,024-row requests: ONNX Runtime alone, and ours by connections."""
    rates: dict[str, list[rows.RowRate]] = {}
    for _ in range(rounds):
        rates.setdefault(ALONE, []).append(rows.runtime_alone(graph, seconds))
        for connections in BINARY_CONNECTIONS:
            rates.setdefault(f"{OURS}, {connections} connections", []).append(
                rows.over_http(target, connections, seconds)
            )
    return {name: sorted(found, key=lambda r: r.rows_per_second)[len(found) // 2] for name, found in rates.items()}


def to_model(target: Target, name: str) -> Target:
    """The same server's other model."""
    return replace(target, url=target.url.replace("/mlp/", f"/{name}/"))


def speeds(medians: Loads) -> str:
    """The table of loads."""
    lines: list[dict[str, object]] = [
        {
            "server": server,
            "connections": connections,
            "req/s": load.requests_per_second,
            "p50 ms": load.p50_ms,
            "p99 ms": load.p99_ms,
            "CPU us/req": load.cpu_us,
            "failures": load.failures,
        }
        for (server, connections), load in sorted(medians.items(), key=lambda item: item[0][1])
    ]
    return table(lines)


def binary_table(binary: RowRates) -> str:
    """The table of 1,024-row requests."""
    lines: list[dict[str, object]] = [
        {"1,024 rows, binary": f"{model}: {name}", "rows/s": rate.rows_per_second, "CPU us/req": rate.cpu_us}
        for model, rates in binary.items()
        for name, rate in rates.items()
    ]
    return "\n" + table(lines)


def verdicts(medians: Loads, binary: RowRates, soaked: Soak | None) -> Iterable[str]:
    """What was wanted, what came out."""
    ours, bare = medians[OURS, 64], medians[BARE, 64]
    yield _verdict(
        "requests/s at 64 connections, of the bare loop's",
        ours.requests_per_second / bare.requests_per_second,
        SHARE_OF_BARE,
        least=True,
    )
    yield _verdict("p99 at 64 connections, times the bare loop's", ours.p99_ms / bare.p99_ms, P99_TIMES, least=False)
    yield _verdict(
        "p50 at one connection, times the bare loop's",
        medians[OURS, 1].p50_ms / medians[BARE, 1].p50_ms,
        P50_TIMES,
        least=False,
    )
    named = medians[NAMED, 64].requests_per_second / bare.requests_per_second
    yield f"         20 named features at 64 connections, of the bare loop's requests/s: {named:.2f}"
    for model, rates in binary.items():
        alone = rates[ALONE].rows_per_second
        best = max(rate.rows_per_second for name, rate in rates.items() if name != ALONE)
        yield _verdict(
            f"1,024-row requests to {model}, of ONNX Runtime's rows/s", best / alone, SHARE_OF_RUNTIME, least=True
        )
    names = {server for server, _ in medians} & {peer.name for peer in PEERS}
    if names:
        fastest = max(names, key=lambda name: medians[name, 64].requests_per_second)
        times = ours.requests_per_second / medians[fastest, 64].requests_per_second
        yield _verdict(
            f"requests/s at 64 connections, times the best peer's ({fastest})", times, PEER_TIMES, least=True
        )
    if soaked is not None:
        yield _verdict("growth of resident memory, MiB a minute", soaked.slope, 0.5, least=False)


def _verdict(what: str, figure: float, wanted: float, *, least: bool) -> str:
    holds = figure >= wanted if least else figure <= wanted
    return f"{'holds   ' if holds else 'MISSES  '} {what}: {figure:.2f} (wanted {'>=' if least else '<='} {wanted:g})"


if __name__ == "__main__":
    main()
