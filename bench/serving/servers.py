"""The bare loop and ourselves, as processes to put load on."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.cluster import running
from bench.serving.models import named_body, tensor_body
from services.kernel.settings import Settings
from trimtab.local.ports import free_ports

BARE, OURS = "bare loop (no validation, no log)", "trimtab"
NAMED = f"{OURS} (20 named features)"

LOG_BYTES = 8 << 30
"""Room for the prediction log: requests of 1,024 rows fill it faster than one Kafka broker beside them empties it."""


@dataclass(frozen=True)
class Target:
    """Something to put load on. `pid` is the process that answers, or the first of those that do."""

    server: str
    connections: int
    url: str
    body: bytes
    pid: int


@contextmanager
def bare_loop(graph: Path) -> Iterator[list[Target]]:
    """The bare loop at 1 and 64 connections."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "uvicorn", "bench.serving.bare_loop:app", "--port", str(port)]
    command += ["--http", "httptools", "--loop", "uvloop", "--no-access-log", "--log-level", "error"]
    command += ["--lifespan", "off"]
    url = f"http://127.0.0.1:{port}/v2/models/mlp/infer"
    environment = {"BARE_LOOP_MODEL": str(graph)}
    with running(command, lambda: httpx.post(url, content=tensor_body("X"), timeout=2), environment) as pid:
        yield [Target(BARE, c, url, tensor_body("X"), pid) for c in (1, 64)]


@contextmanager
def trimtab(settings: Settings, *, workers: int = 1) -> Iterator[list[Target]]:
    """Ours at 1 and 64 connections by V2, and at 64 by named features."""
    (port,) = free_ports(1)
    environment = {
        "TRIMTAB_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "TRIMTAB_DATA_DIR": str(settings.data_dir),
        "TRIMTAB_SERVING_PORT": str(port),
        "TRIMTAB_SERVING_WORKERS": str(workers),
        "TRIMTAB_SERVING_LOG_MAX_BYTES": str(LOG_BYTES),
        "TRIMTAB_LOG_LEVEL": "warning",
    }
    base = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "services.serving"]
    with running(command, lambda: httpx.get(f"{base}/readyz", timeout=2), environment) as pid:
        url = f"{base}/v2/models/mlp/infer"
        targets = [Target(OURS, c, url, tensor_body("X"), pid) for c in (1, 64)]
        yield [*targets, Target(NAMED, 64, f"{base}/mlops/predict", named_body("table"), pid)]
