"""The life of the explaining child: started when first asked, ended when idle, ended with whoever started it.

It gets no secret and no network address: the parent has fetched and verified the version's files, and the child reads
them from the cache's folder. It lives on the event loop's thread, which must be the main thread (see
`services.kernel.leash`).
"""

import asyncio
import os
import sys
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from services.kernel.leash import leashed
from services.kernel.telemetry import get_logger
from services.serving.explain.refusals import ExplainerDied, ExplanationTimedOut, OutOfMemory
from services.serving.explain.wire import HEAD_BYTES, Job, Refused, Reply, decode_reply, frame, length_of
from services.serving.settings import ServingSettings

log = get_logger(__name__)

_PROGRAM = Path(__file__).with_name("start.py")
"""Run, never imported: what it imports must not come into this process."""
_ENDED_SECONDS = 5.0


class ExplainerProcess:
    """At most one child. `ask` one at a time; the caller sees to that."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._process: asyncio.subprocess.Process | None = None
        self.starts = 0
        """How many children there have been."""

    @property
    def pid(self) -> int | None:
        """The living child's process id."""
        running = self._process
        return running.pid if running is not None and running.returncode is None else None

    @property
    def memory_bytes(self) -> int:
        """The child's resident memory; 0 without a child."""
        try:
            pages = Path(f"/proc/{self.pid or 'none'}/statm").read_text().split()[1]
        except (OSError, IndexError):
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    async def ask(self, job: Job, timeout_seconds: float) -> Reply:
        """The child's answer; one is started if none lives. A child that is late, damaged, short of memory or left
        alone (a cancelled `ask`) is ended, so that the next answer is never an old one, nor made of fragments.

        Raises `ExplainerDied` and `ExplanationTimedOut`.
        """
        answered = False
        try:
            async with asyncio.timeout(timeout_seconds):
                reply = await self._exchange(job)
            answered = not (isinstance(reply, Refused) and reply.code == OutOfMemory.code)
            return reply
        except TimeoutError:
            raise ExplanationTimedOut(
                f"the explanation was not done within {timeout_seconds:g} s: ask for fewer rows or samples "
                "(TRIMTAB_SERVING_EXPLAIN_TIMEOUT_SECONDS)"
            ) from None
        except (OSError, EOFError, ValueError, msgspec.DecodeError) as error:
            status = await self._ended()
            log.error("explainer_died", error=repr(error), status=status)
            raise ExplainerDied(
                f"the process that explains ended while it worked on this (status {status}); the next request "
                "starts another"
            ) from error
        finally:
            if not answered:
                await self.end()

    async def end(self) -> None:
        """End the child, if there is one."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it has ended, and nobody has told us yet
                process.kill()
        await process.wait()

    async def _exchange(self, job: Job) -> Reply:
        process = self._process
        if process is None or process.returncode is not None:
            process = await self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(frame(job))
        await process.stdin.drain()
        length = length_of(await process.stdout.readexactly(HEAD_BYTES))
        reply: Reply = decode_reply(await process.stdout.readexactly(length))
        return reply

    async def _start(self) -> asyncio.subprocess.Process:
        settings = self._settings
        begun = time.perf_counter()
        self._process = process = await asyncio.create_subprocess_exec(
            *leashed(
                [
                    *(sys.executable, "-I", str(_PROGRAM), str(settings.serving_explain_memory_bytes)),
                    *(str(settings.serving_explain_niceness), str(settings.serving_explain_versions)),
                ]
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=_environment(),
        )
        self.starts += 1
        log.info("explainer_started", pid=process.pid, seconds=round(time.perf_counter() - begun, 4))
        return process

    async def _ended(self) -> int | None:
        """The exit status of a child that closed its pipe; None if it lives on."""
        if self._process is None:
            return None
        try:
            async with asyncio.timeout(_ENDED_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            return None


def _environment() -> dict[str, str]:
    """What the child needs to start, and no secret.

    One thread: it is one of many programs here. Without numba's compiler, which needs 2.3 s and 90 MiB to speed up
    loops that take 3 % of an explanation.
    """
    needed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    said = {
        "LANG": "C.UTF-8",
        "NUMBA_DISABLE_JIT": "1",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "ORT_DISABLE_TELEMETRY": "1",
    }
    return {**needed, **said}
