"""A process: its parts, started in order and stopped in reverse, and the HTTP server before them.

The server answers `/healthz` from the first moment; `/readyz` tells what is still waited for. An unexpected error in a
part ends the process (the supervisor starts it again): a half-dead service is worse than a restarted one.
"""

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import uvicorn
import uvloop
from prometheus_client import generate_latest
from pydantic import ValidationError
from starlette.types import ASGIApp

from services.kernel.auth import Access
from services.kernel.bus.group import GroupMember
from services.kernel.bus.outbox import Relay
from services.kernel.bus.producer import Producer
from services.kernel.db import Database
from services.kernel.errors import Misconfigured, TrimtabError, Unavailable
from services.kernel.http.protocol import protocol_within
from services.kernel.lean_arrow import keep_pandas_out
from services.kernel.migrate import migrate
from services.kernel.settings import Settings
from services.kernel.telemetry import get_logger, log_as_json, trace_to
from services.kernel.uow import Work

log = get_logger(__name__)

_JOIN_POLL_SECONDS = 0.05


class Part(Protocol):
    """Something a service is made of. `start` returns when the part runs, `stop` when it has ended.

    A part may have a `task`, whose end before the stop ends the process, and `ready() -> str | None`, which says what
    is still waited for.
    """

    async def start(self) -> None:
        """Begin."""

    async def stop(self) -> None:
        """End, in bounded time."""


class BackgroundTask:
    """A part that runs `work()` until stopped; `work` loops for ever and ends only by an error."""

    def __init__(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        self.name = name
        self._work = work
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to run."""

        async def run() -> None:
            await self._work()

        self.task = asyncio.create_task(run(), name=self.name)

    async def stop(self) -> None:
        """Cancel and wait."""
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait([self.task])


@dataclass(frozen=True)
class Sharing:
    """How a process shares its port with others of its kind (SO_REUSEPORT: the kernel deals out the connections).

    `own_port`: a loopback port at which this process alone answers. `join_when_ready`: it listens on the shared port
    only once it is ready, because others do already.
    """

    own_port: int
    join_when_ready: bool


class Service:
    """What `app.build(settings)` returns. With `migrations` (a package) it has a database, an outbox and a relay."""

    def __init__(self, name: str, settings: Settings, *, migrations: str | None = None) -> None:
        self.name = name
        self.settings = settings
        self.access = Access(settings)
        self.producer = Producer(settings, f"trimtab-{name}")
        self.members: list[GroupMember] = []
        self.app: ASGIApp | None = None
        self._migrations = migrations
        self._parts: list[Part] = [self.access, self.producer]
        self._started = False
        self._stopping = False
        self.notice_seconds = 0.0
        """How long it still takes connections when it stops, while `/readyz` says that it is not ready."""
        self.linger_seconds = 0.0
        """How long, after that, it still answers what open connections send."""
        self.sharing: Sharing | None = None
        self.state: dict[str, Any] = {}
        if migrations is not None:
            self.db = Database(settings.database_of(name), name)
            self.work = Work(self.db, name)
            relay = Relay(self.db, self.producer)
            self.work.relay = relay
            self._parts.append(relay)

    def add(self, part: Part) -> None:
        """Add a part; it starts after, and stops before, those added earlier."""
        self._parts.append(part)
        if isinstance(part, GroupMember):
            self.members.append(part)

    def waiting_for(self) -> list[str]:
        """Why the service is not ready; empty when it is."""
        if self._stopping:
            return ["the process is stopping"]
        if not self._started:
            return ["the process is starting"]
        reasons = [part.ready() for part in self._parts if hasattr(part, "ready")]
        return [reason for reason in reasons if reason is not None]

    def tasks(self) -> set["asyncio.Task[None]"]:
        """The running tasks of the parts."""
        tasks = (getattr(part, "task", None) for part in self._parts)
        return {task for task in tasks if task is not None}

    @property
    def stopping(self) -> bool:
        """Whether the process is on its way out: answers that never end must end now."""
        return self._stopping

    def begin_stop(self) -> None:
        """Not ready from now on; what has begun may finish."""
        self._stopping = True

    async def metrics_page(self) -> bytes:
        """What `/metrics` answers, in the text exposition format."""
        return await asyncio.to_thread(generate_latest)

    async def start(self) -> None:
        """Migrate the database, then start every part."""
        if self._migrations is not None:
            if self.db.is_sqlite:
                self.settings.data_dir.mkdir(parents=True, exist_ok=True)
            await asyncio.to_thread(migrate, self.db, self._migrations)
        for part in self._parts:
            await part.start()
        self._started = True
        log.info("service_started", port=self.settings.port_of(self.name))

    async def stop(self) -> None:
        """Stop every part in reverse order, then close the database."""
        self._stopping = True
        for part in reversed(self._parts):
            await part.stop()
        if self._migrations is not None:
            self.db.close()
        log.info("service_stopped")


def run(build: Callable[[], Service]) -> int:
    """The `main` of every service: builds it, runs it until SIGTERM or SIGINT, returns the exit status."""
    log_as_json("trimtab", "info")  # until the settings are known: whatever is wrong with them must be readable
    try:
        service = build()
        log_as_json(service.name, service.settings.log_level)
        trace_to(service.name, service.settings.otlp_endpoint)
        service.settings.check()
        keep_pandas_out()
        return uvloop.run(_serve(service, *_listen(service)))
    except Misconfigured as error:
        log.error("misconfigured", remedy=error.detail)
        return 2
    except ValidationError as error:
        wrong = [f"TRIMTAB_{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors()]
        log.error("misconfigured", remedy="; ".join(wrong))
        return 2
    except Unavailable as error:
        log.error("dependency_unavailable", error=error.detail)
        return 1


class _Server(uvicorn.Server):
    """uvicorn without its own signal handlers: the process decides when it stops."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield

    async def listen_too(self, listener: socket.socket) -> None:
        """Take the connections of another socket as well. The server must have started."""
        config = self.config
        kind: Any = config.http_protocol_class
        protocol = partial(
            kind,
            config=config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        loop = asyncio.get_running_loop()
        self.servers.append(await loop.create_server(protocol, sock=listener, backlog=config.backlog))


def _listen(service: Service) -> tuple[socket.socket, socket.socket | None]:
    """The service's port and, where that is shared, the process's own."""
    host, port = service.settings.host, service.settings.port_of(service.name)
    public = _bound(service, host, port, shared=service.sharing is not None)
    if service.sharing is None:
        return public, None
    return public, _bound(service, "127.0.0.1", service.sharing.own_port, shared=True)


def _bound(service: Service, host: str, port: int, *, shared: bool) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise Misconfigured(
            f"{service.name} can't listen on {host}:{port} ({error.strerror}): "
            f"stop what holds the port, or set TRIMTAB_{service.name.upper()}_PORT"
        ) from error
    return listener


async def _serve(service: Service, listener: socket.socket, own: socket.socket | None) -> int:
    settings = service.settings
    assert service.app is not None
    server = _Server(
        uvicorn.Config(
            service.app,
            http=protocol_within(
                head_bytes=settings.http_head_bytes,
                patience_seconds=settings.http_patience_seconds,
                least_bytes_per_second=settings.http_least_bytes_per_second,
            ),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=int(settings.drain_seconds) + 1,
            timeout_keep_alive=75,
        )
    )
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    late = service.sharing is not None and service.sharing.join_when_ready
    listeners = [socket for socket in (None if late else listener, own) if socket is not None]
    serving = asyncio.create_task(server.serve(sockets=listeners), name="http")
    starting = asyncio.create_task(_come_up(service, server, listener if late else None), name="start")
    stop = asyncio.create_task(stopping.wait(), name="stop")
    failed = await _until_stopped(service, {serving, starting, stop})
    service.begin_stop()
    await _linger(server, service.notice_seconds, service.linger_seconds)
    server.should_exit = True
    await asyncio.wait([serving], timeout=settings.drain_seconds + 2)
    starting.cancel()
    await service.stop()
    return 1 if failed else 0


async def _come_up(service: Service, server: _Server, late: socket.socket | None) -> None:
    """Start it; once it is ready, listen on `late` as well."""
    await _start(service)
    if late is not None:
        while service.waiting_for() or not server.started:  # noqa: ASYNC110
            await asyncio.sleep(_JOIN_POLL_SECONDS)
        await server.listen_too(late)


async def _start(service: Service) -> None:
    """Start it, then let the garbage collector look no more at what lives as long as the process.

    That is nearly all there is, some 200,000 objects: each full collection looked at them again and stood in the way of
    every request for a tenth of a second.
    """
    await service.start()
    gc.collect()
    gc.freeze()


async def _linger(server: uvicorn.Server, notice_seconds: float, seconds: float) -> None:
    """Go on as before for `notice_seconds`, for those who have not noticed yet that this process is not ready any more;
    then take no new connections, but answer what the open ones send, until they have closed or the time is up."""
    await asyncio.sleep(notice_seconds)
    deadline = asyncio.get_running_loop().time() + seconds
    if seconds > 0:
        for listening in getattr(server, "servers", ()):
            listening.close()
    while server.server_state.connections and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _until_stopped(service: Service, waited: set["asyncio.Task[Any]"]) -> bool:
    """Wait for the stop signal. True when a part died instead."""
    while True:
        tasks = waited | service.tasks()
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
        for task in done:
            name = task.get_name()
            if name == "stop":
                return False
            error = None if task.cancelled() else task.exception()
            if name == "start" and error is None:
                waited.discard(task)
                continue
            detail = error.detail if isinstance(error, TrimtabError) else repr(error)
            log.error("part_ended", part=name, error=detail)
            return True
