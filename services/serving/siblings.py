"""The workers beside this one: their metrics on one page with its own, and the configuration that all of them share."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from prometheus_client import generate_latest

from services.kernel.errors import Misconfigured
from services.kernel.metrics_merge import merge
from services.kernel.telemetry import get_logger
from services.serving.config import ServerConfig, read_config
from services.serving.gateway import Gateway
from services.serving.settings import ServingSettings

log = get_logger(__name__)

LABEL = "worker"
OWN_METRICS = "/internal/metrics"
"""Where a worker tells its own metrics alone."""
OWN_READINESS = "/internal/ready"
"""Where a worker answers 200 once it is ready itself, whatever the others are."""
_ASK_SECONDS = 0.1
WATCH_SECONDS = 0.5
"""How soon a configuration document that another process has written is in force."""


async def worker_metrics(settings: ServingSettings, gateway: Gateway) -> bytes:
    """The page of all workers, told apart by the label `worker`; of a process that has the port to itself, its own."""
    own = await asyncio.to_thread(generate_latest)
    ports = settings.worker_ports
    if not ports:
        return own
    others = [worker for worker in range(len(ports)) if worker != settings.serving_worker]
    pages = await asyncio.gather(*(gateway.fetch_local(ports[worker], OWN_METRICS) for worker in others))
    found = {str(settings.serving_worker): own.decode(), **dict(zip(map(str, others), pages, strict=True))}
    ordered = {name: found[name] for name in sorted(found, key=int)}
    return await asyncio.to_thread(merge, ordered, LABEL)


class FirstStart:
    """A part: until each worker has been ready once, none says that it is: the kernel deals out the connections among
    all that listen, also to one that has nothing loaded. One that is started again does not wait for others."""

    def __init__(self, settings: ServingSettings, gateway: Gateway) -> None:
        self._gateway = gateway
        self._unready: dict[int, int] = {}
        self.task: asyncio.Task[None] | None = None
        if settings.serving_worker_restarts == 0:
            self._unready = {w: port for w, port in enumerate(settings.worker_ports) if w != settings.serving_worker}

    async def start(self) -> None:
        """Begin to ask the others."""
        if self._unready:
            self.task = asyncio.create_task(self._run(), name="first-start")

    async def stop(self) -> None:
        """Ask no more."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])
            self.task = None

    @property
    def waiting_for(self) -> list[str]:
        """The workers that have not been ready yet."""
        return [f"worker {worker} has not been ready yet" for worker in self._unready]

    async def _run(self) -> None:
        while self._unready:
            for worker, port in list(self._unready.items()):
                if await self._gateway.fetch_local(port, OWN_READINESS) is not None:
                    del self._unready[worker]
            await asyncio.sleep(_ASK_SECONDS)
        await asyncio.Event().wait()  # a part whose task ends, ends the process


class ConfigWatch:
    """A part: takes over the configuration document when somebody else has written it."""

    def __init__(self, settings: ServingSettings, configure: Callable[[ServerConfig], None]) -> None:
        self._settings = settings
        self._configure = configure
        self._seen = _stamp(settings.config_file)
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to watch."""
        self.task = asyncio.create_task(self._run(), name="config-watch")

    async def stop(self) -> None:
        """Stop watching."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            stamp = _stamp(self._settings.config_file)
            if stamp == self._seen:
                continue
            self._seen = stamp
            try:
                config = await asyncio.to_thread(read_config, self._settings)
            except Misconfigured as error:
                log.warning("config_not_taken", error=error.detail)
                continue
            self._configure(config)
            log.info("config_taken")


def _stamp(path: Path) -> tuple[int, int] | None:
    """What changes whenever the file is replaced; None: there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns
