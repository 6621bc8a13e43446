"""A job's child as a process of this machine, in a group of its own, on a leash, with bounds on memory and time."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from pydantic import ValidationError

from services.kernel.leash import leashed
from services.kernel.telemetry import get_logger
from services.trainer.executors import Exit
from services.trainer.settings import TrainerSettings
from services.trainer.workspace import LOG_NAME, EpochReport

log = get_logger(__name__)

WATCH_SECONDS = 0.5
LINE_BYTES = 1 << 20
LAST_WORDS_BYTES = 2_000
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "SYSTEMROOT")
"""All that a child sees of the environment: no credentials, no broker, no database."""


class LocalExecutor:
    """Child processes of this process; they die with it, even by kill -9."""

    def __init__(self, settings: TrainerSettings) -> None:
        self._memory_bytes = settings.trainer_job_memory_bytes
        self._timeout_seconds = settings.trainer_job_timeout_seconds

    async def run(self, folder: Path, on_epoch: Callable[[EpochReport], None]) -> Exit:
        """See `Executor`."""
        with (folder / LOG_NAME).open("wb") as log_file:
            child = await asyncio.create_subprocess_exec(
                *leashed([sys.executable, "-m", "services.trainer.child", str(folder)]),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=log_file,
                env=_environment(),
                start_new_session=True,
                limit=LINE_BYTES,
            )
        watching = asyncio.create_task(self._watch(child.pid), name=f"watch-{child.pid}")
        try:
            assert child.stdout is not None
            async for line in child.stdout:
                _report(line, on_epoch)
            code = await child.wait()
        finally:
            watching.cancel()
            _kill_group(child.pid)
            await child.wait()
            await asyncio.wait([watching])
        limit = "" if watching.cancelled() else watching.result()
        return Exit(code, _last_words(folder / LOG_NAME), limit)

    async def _watch(self, pid: int) -> str:
        """Kills the child at a limit and says which; ends otherwise only by being cancelled."""
        started = time.monotonic()
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            if time.monotonic() - started > self._timeout_seconds:
                _kill_group(pid)
                return (
                    f"it ran for more than {self._timeout_seconds:g} s, the limit of "
                    "TRIMTAB_TRAINER_JOB_TIMEOUT_SECONDS"
                )
            if await asyncio.to_thread(_resident_bytes, pid) > self._memory_bytes:
                _kill_group(pid)
                return (
                    f"it took more than {self._memory_bytes >> 20} MiB of memory, the limit of "
                    "TRIMTAB_TRAINER_JOB_MEMORY_BYTES"
                )


def _environment() -> dict[str, str]:
    home = Path(__file__).parents[3]  # the folder that holds the package `services`
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return inherited | {"PYTHONPATH": str(home), "PYTHONUNBUFFERED": "1"}


def _report(line: bytes, on_epoch: Callable[[EpochReport], None]) -> None:
    try:
        on_epoch(EpochReport.model_validate_json(line))
    except ValidationError:
        log.warning("child_line_unreadable", line=line[:200].decode(errors="replace"))


def _resident_bytes(pid: int) -> int:
    try:
        child = psutil.Process(pid)
        family = [child, *child.children(recursive=True)]
        return sum(process.memory_info().rss for process in family)
    except psutil.Error:
        return 0


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return


def _last_words(path: Path) -> str:
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - LAST_WORDS_BYTES, 0))
        lines = file.read().decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
