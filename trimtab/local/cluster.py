"""The local cluster: broker, topics, services and merged metrics, started and stopped as one."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import services
from services.kernel.bus.admin import apply_topics
from services.kernel.settings import SERVICES
from services.kernel.telemetry import get_logger
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import Progress, ensure_jars, jar_cache
from trimtab.local.data_lock import DataLock
from trimtab.local.errors import BrokerStopped, LocalError, PortTaken
from trimtab.local.events import ClusterEvent, Listener
from trimtab.local.metrics import MetricsServer
from trimtab.local.ports import require_free
from trimtab.local.processes import ServiceProcess, ServiceSpec, backoff_seconds, start_all, stop_all
from trimtab.local.settings import LocalSettings

BROKER_POLL_SECONDS = 0.25
STOP_MARGIN_SECONDS = 5.0
"""A service gets its drain time and this much more before it is killed."""

log = get_logger(__name__)


def log_event(event: ClusterEvent) -> None:
    """The listener for nobody in particular: one log line an event."""
    log.info(f"local_{event.kind}", part=event.part, detail=event.detail, seconds=round(event.seconds, 2))


class LocalCluster:
    """All of Trimtab on this machine; `async with LocalCluster(settings) as cluster:` starts it and stops
    it in order.

    Use it in the main thread's event loop: its children die with that thread, whatever happens
    (`services.kernel.leash`).

    Args:
        settings: ports, data directory, broker; what was set there reaches the children by their environment.
        only: the services to run, all by default, in the order of `services.kernel.settings.SERVICES`.
        environment: more variables for the children.
        tell: called with every `ClusterEvent`.
        progress: called while the broker's jars arrive.
    """

    def __init__(
        self,
        settings: LocalSettings,
        *,
        only: Sequence[str] = SERVICES,
        environment: Mapping[str, str] | None = None,
        tell: Listener = log_event,
        progress: Progress | None = None,
    ) -> None:
        if unknown := set(only) - set(SERVICES):
            raise ValueError(f"no such service: {', '.join(sorted(unknown))}; there are {', '.join(SERVICES)}")
        self.settings = settings
        self.names = tuple(name for name in SERVICES if name in only)
        self.data_dir = settings.data_dir.absolute()
        self.broker: LocalBroker | None = None
        self.services: dict[str, ServiceProcess] = {}
        self._environment = dict(environment or {})
        self._tell = tell
        self._progress = progress
        self._lock = DataLock(self.data_dir / "cluster.lock")
        self._metrics: MetricsServer | None = None
        self._broker_watcher: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Base URL of the public HTTP port."""
        return self.settings.url_of("serving")

    @property
    def bootstrap(self) -> str:
        """What Kafka clients connect to."""
        return self.settings.kafka_bootstrap if self.broker is None else self.broker.bootstrap

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything and return once every service is ready. On an error all that had started is
        stopped.

        Raises:
            LocalError: a taken port, a data directory that is busy or not writable, a broker or a service that
                won't start.
            Misconfigured: settings that contradict each other.
            Unavailable: the configured Kafka does not answer or refuses the topics.
        """
        self.settings.check()
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._check_ports()
            if self.settings.embedded_broker:
                await self._start_broker()
            await self._timed("topics", self._apply_topics)
            await self._start_services()
            await self._timed("metrics", self._start_metrics)
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise self._unwritable(error) from error
            raise

    async def stop(self) -> None:
        """Stop everything in order: the services (the last started first), the metrics, the broker."""
        await stop_all(list(self.services.values()), self.settings.drain_seconds + STOP_MARGIN_SECONDS)
        self.services.clear()
        if self._metrics is not None:
            await self._metrics.stop()
            self._metrics = None
        if self._broker_watcher is not None:
            self._broker_watcher.cancel()
            await asyncio.gather(self._broker_watcher, return_exceptions=True)
            self._broker_watcher = None
        if self.broker is not None:
            await asyncio.to_thread(self.broker.stop)
            self.broker = None
            self._tell(ClusterEvent("stopped", "broker"))
        self._lock.release()

    def _unwritable(self, error: OSError) -> LocalError:
        return LocalError(
            f"{error.filename or self.data_dir} can't be used ({error.strerror or error}); set --data-dir or"
            " TRIMTAB_DATA_DIR to a folder that you may write to."
        )

    def _check_ports(self) -> None:
        ports = self.settings.named_ports(self.names)
        if self.settings.embedded_broker:
            ports["TRIMTAB_BROKER_PORT"] = self.settings.broker_port
            ports["TRIMTAB_BROKER_CONTROLLER_PORT"] = self.settings.broker_controller_port
        owners: dict[int, str] = {}
        for setting, port in ports.items():
            if (other := owners.setdefault(port, setting)) != setting:
                raise PortTaken(f"{other} and {setting} are both {port}; give each a port of its own.")
            require_free(port, setting=setting, host=self.settings.host)

    async def _start_broker(self) -> None:
        settings = self.settings
        jars = await asyncio.to_thread(
            ensure_jars,
            jar_cache(settings.cache_dir),
            offline=settings.offline,
            mirror_url=settings.maven_mirror,
            progress=self._progress,
        )
        self.broker = LocalBroker(
            self.data_dir / "kafka",
            jars=jars,
            port=settings.broker_port,
            controller_port=settings.broker_controller_port,
            heap_mb=settings.broker_heap_mb,
        )
        await self._timed("broker", self._launch_broker)
        self._broker_watcher = asyncio.create_task(self._watch_broker(self.broker), name="watch broker")

    async def _launch_broker(self) -> str:
        assert self.broker is not None
        await asyncio.to_thread(self.broker.prepare)
        self.broker.spawn()  # here, not in a thread: a child dies with the thread that started it
        await asyncio.to_thread(self.broker.wait_ready, self.settings.ready_timeout_seconds)
        return self.broker.bootstrap

    async def _watch_broker(self, broker: LocalBroker) -> None:
        deaths = 0
        while True:
            await asyncio.sleep(BROKER_POLL_SECONDS)
            if broker.alive:
                continue
            deaths += 1
            pause_seconds = backoff_seconds(deaths)
            self._tell(ClusterEvent("died", "broker", broker.how_it_ended(), pause_seconds))
            await asyncio.sleep(pause_seconds)
            try:
                await self._timed("broker", self._launch_broker)
            except (BrokerStopped, PortTaken) as error:
                self._tell(ClusterEvent("died", "broker", error.detail))

    async def _apply_topics(self) -> str:
        outcome = await apply_topics(self.settings.model_copy(update={"kafka_bootstrap": self.bootstrap}))
        created = sum(change == "created" for change in outcome.values())
        return f"{len(outcome)} topics, {created} of them new"

    async def _start_services(self) -> None:
        environment = self._child_environment()
        for name in self.names:
            module = "trimtab.ui" if name == "ui" else f"services.{name}"
            spec = ServiceSpec(name, module, f"{self.settings.url_of(name)}/readyz")
            self.services[name] = ServiceProcess(
                spec, log_dir=self.data_dir / "logs", environment=environment, tell=self._tell
            )
        await start_all(list(self.services.values()), self.settings.ready_timeout_seconds)

    async def _start_metrics(self) -> str:
        urls = {name: self.settings.url_of(name) for name in self.names}
        self._metrics = MetricsServer(urls, host=self.settings.host, port=self.settings.metrics_port)
        await self._metrics.start()
        return f"http://{self.settings.host}:{self.settings.metrics_port}/metrics"

    def _child_environment(self) -> dict[str, str]:
        root = str(Path(services.__file__).parent.parent)
        path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
        environment = {
            "ORT_DISABLE_TELEMETRY": "1",  # ONNX Runtime would send what it counts to its maker
            **os.environ,
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            **self.settings.environment(),
        }
        environment["TRIMTAB_KAFKA_BOOTSTRAP"] = self.bootstrap
        environment["TRIMTAB_DATA_DIR"] = str(self.data_dir)
        environment["TRIMTAB_INTERNAL_KEY"] = self.settings.internal_key.get_secret_value()
        return environment | self._environment

    async def _timed(self, part: str, work: Callable[[], Awaitable[str]]) -> None:
        self._tell(ClusterEvent("starting", part))
        began = asyncio.get_running_loop().time()
        detail = await work()
        self._tell(ClusterEvent("ready", part, detail, asyncio.get_running_loop().time() - began))
