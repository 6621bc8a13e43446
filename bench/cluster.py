"""What the benchmarks start: a real broker, and server processes that are stopped whatever happens."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

from services.kernel.settings import Settings
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import ensure_jars, jar_cache
from trimtab.local.ports import free_ports

ROOT = Path(__file__).parent.parent
_START_SECONDS = 120
_STOP_SECONDS = 30


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


@contextmanager
def running(
    command: list[str], probe: Callable[[], httpx.Response], environment: dict[str, str], cwd: Path = ROOT
) -> Iterator[int]:
    """A server process for which `probe` is answered with 200; its pid. Its children end with it."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=os.environ | environment, cwd=cwd, stdout=quiet, stderr=quiet)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _answered(probe):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{' '.join(command)} does not answer")
            time.sleep(0.1)
        yield process.pid
    finally:
        children = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in psutil.wait_procs(children, timeout=_STOP_SECONDS)[1]:
            child.kill()


def _answered(probe: Callable[[], httpx.Response]) -> bool:
    try:
        return probe().status_code == 200
    except httpx.TransportError:
        return False


def family(pid: int) -> list[psutil.Process]:
    """A process and everything that it started."""
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def cpu_seconds(pid: int) -> float:
    """Processor time of a server, its children included."""
    total = 0.0
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def resident_mib(pid: int) -> float:
    """Resident memory of a process, without its children."""
    return float(psutil.Process(pid).memory_info().rss / 2**20)
