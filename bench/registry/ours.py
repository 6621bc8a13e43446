"""The registry's own process on a filled database, asked over HTTP."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
from onnx import TensorProto, helper, numpy_helper

from bench.cluster import running
from bench.registry.timing import Connection, Figures, Request, beside, measured
from bench.registry_fill import WORDS
from services.kernel.leash import leashed
from services.kernel.settings import Settings
from trimtab.local.ports import free_ports

ROOT = Path(__file__).parents[2]
PAGE = 100
DEEP_PAGES = 100
"""Pages that are gone through by cursor before the one that counts."""


def filling(url: str, total: int, models: int) -> "subprocess.Popen[bytes]":
    """A process that fills the empty database at `url`."""
    command = [sys.executable, "-m", "bench.registry_fill", url, "--versions", str(total), "--models", str(models)]
    return subprocess.Popen(leashed(command), cwd=ROOT)


@contextmanager
def registry(environment: dict[str, str], cluster: Settings) -> Iterator[tuple[str, psutil.Process]]:
    """The running registry: its URL and process."""
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    environment = {
        "TRIMTAB_KAFKA_BOOTSTRAP": cluster.kafka_bootstrap,
        "TRIMTAB_REGISTRY_PORT": str(port),
        "TRIMTAB_LOG_LEVEL": "warning",
        **environment,
    }
    command = [sys.executable, "-m", "services.registry"]
    with running(command, lambda: httpx.get(f"{url}/readyz", timeout=2, trust_env=False), environment) as pid:
        yield url, psutil.Process(pid)


def reads(url: str, count: int) -> dict[str, Figures]:
    """Every way to read, each `count` times; getting one version ten times as often."""
    rng = random.Random(1)
    with Connection(url) as connection:
        pages = [
            connection.ask("GET", "/mlops/versions", order_by=f"metrics.{metric}", limit=1000)["versions"]
            for metric in ("accuracy", "f1", "recall")  # the least by each are spread over all models and times
        ]
    found = [f"{version['model_id']}/{version['version']}" for page in pages for version in page]
    models = sorted({one.partition("/")[0] for one in found})
    words = rng.choices(WORDS, k=count)
    bounds = [rng.uniform(0.5, 0.999) for _ in range(count)]

    def get(path: str, **query: Any) -> Request:
        return ("GET", path, None, query)

    def versions(**query: Any) -> Request:
        return get("/mlops/versions", limit=PAGE, **query)

    requests: dict[str, list[Request]] = {
        "get a version": [get(f"/mlops/models/{one}") for one in rng.choices(found, k=10 * count)],
        "list models": [get("/mlops/models", limit=PAGE) for _ in range(count)],
        "list models, by a part of the name": [
            get("/mlops/models", limit=PAGE, name=f"{rng.randrange(100):02}") for _ in range(count)
        ],
        "versions of a model": [get(f"/mlops/models/{model}", limit=PAGE) for model in rng.choices(models, k=count)],
        "newest page": [versions() for _ in range(count)],
        "search: metric": [versions(filter=f"metrics.accuracy > {bound:.4f}") for bound in bounds],
        "search: metric, best first": [
            versions(filter=f"metrics.accuracy > {bound:.4f}", order_by="metrics.accuracy desc") for bound in bounds
        ],
        "search: tag": [versions(filter=f"tags.tier = '{rng.choice('abcde')}'") for _ in range(count)],
        "search: stage": [versions(filter="stage = production") for _ in range(count)],
        "search: tag, metric and stage": [
            versions(filter=f"tags.team = 'red' and metrics.f1 > {bound:.4f} and stage in (draft, staging)")
            for bound in bounds
        ],
        "search: a word": [versions(text=word) for word in words],
        "search: three words": [versions(text=" ".join((word, *rng.sample(WORDS, 2)))) for word in words],
        "search: one in all, by a tag": [versions(filter=f"tags.run = '{place + 1}'") for place in range(count)],
    }
    figures = {name: measured(url, asked) for name, asked in requests.items()}
    return {**figures, "a page far down, by cursor": _deep(url, count)}


def _deep(url: str, count: int) -> Figures:
    """The page behind a hundred others (the last, where there are fewer)."""
    with Connection(url) as connection:
        cursor, skipped = None, 0
        while skipped < DEEP_PAGES:
            query = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
            answer = connection.ask("GET", "/mlops/versions", **query)
            if answer["next_cursor"] is None:
                break
            cursor, skipped = answer["next_cursor"], skipped + 1
    query = {"limit": PAGE} | ({"cursor": cursor} if cursor else {})
    return measured(url, [("GET", "/mlops/versions", None, query)] * count)


def small_file(url: str) -> list[dict[str, Any]]:
    """What a registration by digest says of its file, once the registry has that."""
    with httpx.Client(base_url=url, timeout=120, trust_env=False) as client:
        metadata = json.dumps({"model_id": "first", "changes": "the file"})
        files = {"model": ("model.onnx", _graph())}
        answer = client.post("/mlops/models", data={"metadata": metadata}, files=files)
        answer.raise_for_status()
        manifest = client.get(f"/mlops/models/first/{answer.json()['version']}/manifest").json()
    return [{name: file[name] for name in ("path", "size", "sha256")} for file in manifest["files"]]


def registrations(url: str, files: list[dict[str, Any]], count: int, connections: int) -> Figures:
    """`count` versions of a hundred models, registered by the digests of `files`."""
    run = f"by-{connections}"
    requests: list[Request] = [
        (
            "POST",
            "/mlops/models",
            {
                "metadata": {
                    "model_id": f"registered-{run}-{place % 100:02}",
                    "metrics": {"accuracy": place / count, "loss": 1 - place / count},
                    "hyperparameters": {"depth": place},
                    "tags": {"team": "blue", "run": run},
                    "description": f"Number {place} of the benchmark",
                },
                "files": files,
            },
            {},
        )
        for place in range(count)
    ]
    return beside(url, requests, connections)


def _graph() -> bytes:
    """A small graph: 20 features to 3 probabilities."""
    weights = numpy_helper.from_array(np.ones((20, 3), np.float32), "weights")
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "small",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 20])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return bytes(model.SerializeToString())
