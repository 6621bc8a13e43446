"""Service processes: started, watched, restarted when they die, stopped in order; never left behind."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from services.kernel.leash import leashed
from trimtab.local.bounded_log import BoundedLog
from trimtab.local.errors import ServiceStopped
from trimtab.local.events import ClusterEvent, Listener
from trimtab.local.signals import killed_by

READY_POLL_SECONDS = 0.1
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 30.0
LOG_TRIM_SECONDS = 5.0
STEADY_SECONDS = 30.0
"""A service that ran for so long starts its backoff anew when it dies."""
RECENT_SECONDS = 5.0
"""An error that a service logged so long before a signal killed it may be why."""


@dataclass(frozen=True)
class ServiceSpec:
    """What to run: `python -m module`, ready once `ready_url` answers 200."""

    name: str
    module: str
    ready_url: str


def backoff_seconds(deaths: int) -> float:
    """The pause after the `deaths`-th death in a row (1, 2, ...): doubling, bounded."""
    return float(min(FIRST_BACKOFF_SECONDS * 2 ** min(deaths - 1, 16), LONGEST_BACKOFF_SECONDS))


class ServiceProcess:
    """One service as a child process; for an event loop in the main thread (see `services.kernel.leash`)."""

    def __init__(self, spec: ServiceSpec, *, log_dir: Path, environment: Mapping[str, str], tell: Listener) -> None:
        self.spec = spec
        self.restarts = 0
        self._log = BoundedLog(log_dir / f"{spec.name}.log")
        self._environment = dict(environment)
        self._tell = tell
        self._process: Process | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The process id of the latest start."""
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start the process; `wait_ready` tells when it serves."""
        self._tell(ClusterEvent("starting", self.spec.name))
        await self._spawn()

    async def wait_ready(self, timeout_seconds: float) -> None:
        """Return once the service is ready; it is watched, and restarted when it dies, from then on.

        Raises:
            ServiceStopped: if it ended or was not ready in time, with the last line that it logged.
        """
        assert self._process is not None
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with httpx.AsyncClient(trust_env=False, timeout=2.0) as client:
            reason = "no answer"
            while True:
                if self._process.returncode is not None:
                    raise ServiceStopped(f"The {self.spec.name} service {self._how_it_ended()}.")
                with suppress(httpx.HTTPError):
                    answer = await client.get(self.spec.ready_url)
                    if answer.status_code == 200:
                        break
                    reason = f"{answer.status_code} {answer.text[:200]}"
                if loop.time() - began > timeout_seconds:
                    raise ServiceStopped(
                        f"The {self.spec.name} service was not ready within {timeout_seconds:g} s ({reason});"
                        f" see {self._log.path}."
                    )
                await asyncio.sleep(READY_POLL_SECONDS)
        self._tell(ClusterEvent("ready", self.spec.name, seconds=loop.time() - began))
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name=f"watch {self.spec.name}")

    async def stop(self, timeout_seconds: float) -> None:
        """SIGTERM, then, after `timeout_seconds`, SIGKILL of its whole process group."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.gather(self._watcher, return_exceptions=True)
            self._watcher = None
        if self._process is not None:
            self._signal(signal.SIGTERM)
            try:
                async with asyncio.timeout(timeout_seconds):
                    await self._process.wait()
            except TimeoutError:
                self._tell(ClusterEvent("died", self.spec.name, f"did not stop within {timeout_seconds:g} s, killed"))
            self._kill_group()
            await self._process.wait()
            self._process = None
            self._tell(ClusterEvent("stopped", self.spec.name))

    async def _spawn(self) -> None:
        output = self._log.open()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *leashed([sys.executable, "-m", self.spec.module]),
                env=self._environment,
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,  # Ctrl-C is for the cluster, which stops its services in order
            )
        finally:
            os.close(output)

    async def _until_ended(self) -> None:
        assert self._process is not None
        ended = asyncio.ensure_future(self._process.wait())
        try:
            while not (await asyncio.wait({ended}, timeout=LOG_TRIM_SECONDS))[0]:
                self._log.trim()
        finally:
            ended.cancel()

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        deaths, began = 0, loop.time()
        while True:
            await self._until_ended()
            self._kill_group()  # what it had started must not outlive it
            deaths = 1 if loop.time() - began > STEADY_SECONDS else deaths + 1
            pause_seconds = backoff_seconds(deaths)
            self._tell(ClusterEvent("died", self.spec.name, self._how_it_ended(), pause_seconds))
            await asyncio.sleep(pause_seconds)
            began = loop.time()
            self.restarts += 1
            await self.start()
            with suppress(ServiceStopped):  # if it ended, the next turn tells so
                await self.wait_ready(STEADY_SECONDS)

    def _how_it_ended(self) -> str:
        assert self._process is not None
        status = self._process.returncode
        killer = killed_by(status)
        if killer is None:
            told = self._log.last_line()[:300]
            return f"ended with status {status} (last line: {told or 'none'}; more in {self._log.path})"
        error = self._log.last_error(RECENT_SECONDS)[:300]  # any other line has nothing to do with it
        return f"was killed by {killer} ({f'last error: {error}; ' if error else ''}log: {self._log.path})"

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _kill_group(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


async def start_all(services: Sequence[ServiceProcess], timeout_seconds: float) -> None:
    """Start them in order, wait until all are ready. Raises `ServiceStopped` for the first that is not."""
    for service in services:
        await service.start()
    waiting = [asyncio.create_task(service.wait_ready(timeout_seconds)) for service in services]
    try:
        await asyncio.gather(*waiting)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


async def stop_all(services: Sequence[ServiceProcess], timeout_seconds: float) -> None:
    """Stop them one by one, the last first, each within `timeout_seconds`."""
    for service in reversed(services):
        await service.stop(timeout_seconds)
