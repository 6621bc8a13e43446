"""Several serving processes on one port: starts them, restarts one that dies, stops all of them.

Each worker is a replica of its own: it has its own name, models and prediction log, and the kernel deals out the
connections among those that listen (SO_REUSEPORT). This process answers nothing and holds no model; it only keeps the
ports reserved, so that no stranger takes one between a worker's death and its successor. A worker that is started again
listens on the shared port only once it is ready; until then the others have all the connections.

A worker that ends without ever having answered ends everything with its status: what keeps it from starting would keep
it from starting for ever. One that has is started again, after growing pauses, and the log says so.
"""

import asyncio
import os
import signal
import socket
import sys
from asyncio.subprocess import Process
from collections.abc import Sequence
from contextlib import suppress

from services.kernel.errors import Misconfigured
from services.kernel.leash import leashed
from services.kernel.telemetry import get_logger, log_as_json
from services.serving.settings import ServingSettings

log = get_logger(__name__)

STEADY_SECONDS = 30.0
"""A worker that ran for so long starts its pauses anew when it dies."""
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
_LOOK_SECONDS = 0.1
KILL_MARGIN_SECONDS = 5.0
"""What a worker gets beyond the times that its own settings give it to stop, before it is killed."""


def supervise(settings: ServingSettings, command: Sequence[str] = (sys.executable, "-m", "services.serving")) -> int:
    """Run the workers until SIGTERM or SIGINT; the exit status. Call it in the main thread."""
    log_as_json("serving", settings.log_level)
    try:
        settings.check()
        public, own = _reserve(settings)
    except Misconfigured as error:
        log.error("misconfigured", remedy=error.detail)
        return 2
    try:
        ports = [listener.getsockname()[1] for listener in own]
        return asyncio.run(_Workers(settings, ports, command).run())
    finally:
        for listener in (public, *own):
            listener.close()


class _Workers:
    def __init__(self, settings: ServingSettings, ports: list[int], command: Sequence[str]) -> None:
        self._ports = ports
        self._command = command
        self._stop_seconds = (
            settings.serving_notice_seconds
            + settings.serving_linger_seconds
            + settings.drain_seconds
            + settings.serving_ship_seconds
            + KILL_MARGIN_SECONDS
        )
        self._came_up: set[int] = set()
        self._processes: dict[int, Process] = {}
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stopping.set)
        keepers = [
            asyncio.create_task(self._keep(worker), name=f"worker-{worker}") for worker in range(len(self._ports))
        ]
        stop = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([stop, *keepers], return_when=asyncio.FIRST_COMPLETED)
        self._stopping.set()
        for process in self._processes.values():
            with suppress(ProcessLookupError):
                process.terminate()
        _, late = await asyncio.wait(keepers, timeout=self._stop_seconds)
        for process in self._processes.values():
            if process.returncode is None:
                log.error("worker_killed", pid=process.pid, after_seconds=self._stop_seconds)
                self._status = self._status or 1
                process.kill()
        if late:
            await asyncio.wait(late)
        for keeper in keepers:
            keeper.result()  # a defect of ours must be seen
        return self._status

    async def _keep(self, worker: int) -> None:
        """Have one worker running until all stop."""
        loop = asyncio.get_running_loop()
        restarts = deaths = 0
        while not self._stopping.is_set():
            started = loop.time()
            process = self._processes[worker] = await self._spawn(worker, restarts)
            log.info("worker_started", worker=worker, pid=process.pid, restarts=restarts)
            if self._stopping.is_set():  # while it was being started
                process.terminate()
            watch = asyncio.create_task(self._note_coming_up(worker))
            status = await process.wait()
            watch.cancel()
            if self._stopping.is_set():
                if status != -signal.SIGTERM:  # it ends so before it has handlers of its own
                    self._status = self._status or _exit_status(status)
                return
            if worker not in self._came_up:
                log.error("worker_did_not_start", worker=worker, status=status)
                self._status = _exit_status(status) or 1
                return
            deaths = 1 if loop.time() - started > STEADY_SECONDS else deaths + 1
            pause_seconds = min(FIRST_PAUSE_SECONDS * 2 ** min(deaths - 1, 16), LONGEST_PAUSE_SECONDS)
            log.error("worker_died", worker=worker, status=status, next_start_seconds=pause_seconds)
            restarts += 1
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_seconds):
                    await self._stopping.wait()

    async def _note_coming_up(self, worker: int) -> None:
        """Note it once the worker takes connections on its own port."""
        while worker not in self._came_up:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self._ports[worker])
                writer.close()
                self._came_up.add(worker)

    async def _spawn(self, worker: int, restarts: int) -> Process:
        environment = os.environ | {
            "TRIMTAB_SERVING_WORKER": str(worker),
            "TRIMTAB_SERVING_WORKER_PORTS": ",".join(map(str, self._ports)),
            "TRIMTAB_SERVING_WORKER_RESTARTS": str(restarts),
        }
        return await asyncio.create_subprocess_exec(*leashed(self._command), env=environment)


def _reserve(settings: ServingSettings) -> tuple[socket.socket, list[socket.socket]]:
    """The public port and one of its own for each worker, bound and not listened on. Raises `Misconfigured`."""
    host, port = settings.host, settings.serving_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as alone:  # others who share ports would let us in
        alone.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            alone.bind((host, port))
        except OSError as error:
            raise Misconfigured(
                f"serving can't listen on {host}:{port} ({error.strerror}): stop what holds the port, or set "
                "TRIMTAB_SERVING_PORT"
            ) from error
    return _bound(family, host, port), [_bound(socket.AF_INET, "127.0.0.1", 0) for _ in range(settings.serving_workers)]


def _bound(family: socket.AddressFamily, host: str, port: int) -> socket.socket:
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    return listener


def _exit_status(status: int) -> int:
    """A process's exit status as a shell tells it: one that a signal ended has 128 and the signal's number."""
    return status if status >= 0 else 128 - status
