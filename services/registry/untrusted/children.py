"""The processes that look into files of unknown origin: one file each, capped, then gone.

Starting one costs a quarter of a second, nearly all of it imports. So one may be started while the bytes still come
(`Spare.expect`): it has read nothing that anybody sent, waits for a path on its standard input, and ends when it is
not needed.
"""

import json
import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.leash import leashed

IDLE_SECONDS = 60.0
"""How long a spare process waits for a file, which a sender may have broken off."""


class Child:
    """A process of `script` that waits for a file. Methods block."""

    def __init__(self, script: ModuleType) -> None:
        assert script.__file__ is not None
        self._process = subprocess.Popen(
            leashed([sys.executable, "-I", script.__file__]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=bare_environment(),
        )

    @property
    def waits(self) -> bool:
        """Whether it lives."""
        return self._process.poll() is None

    def ask(self, path: Path, memory_bytes: int, seconds: int) -> dict[str, Any]:
        """What it says of the file at `path`; then it has ended.

        Raises `InvalidInput` with its reason when it refuses the file, `TooLarge` when it went over a limit.
        """
        job = json.dumps([str(path.absolute()), memory_bytes, seconds]) + "\n"
        try:
            answered, _ = self._process.communicate(job.encode(), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise TooLarge(f"{path.name} was not opened and tried within {seconds} s") from error
        finally:
            self.end()
        if self._process.returncode != 0:
            raise TooLarge(
                f"{path.name} could not be opened within {memory_bytes >> 20} MiB and {seconds} s "
                f"(its process ended with {self._process.returncode})"
            )
        answer: dict[str, Any] = json.loads(answered)
        if "refused" in answer:
            raise InvalidInput(f"{path.name}: {answer['refused']}")
        return answer

    def end(self) -> None:
        """End it, if it lives."""
        with self._process:
            self._process.kill()


class Spare:
    """At most one child of `script` that waits beside those at work. Methods may be called from any thread."""

    def __init__(self, script: ModuleType, idle_seconds: float = IDLE_SECONDS) -> None:
        self._script = script
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._timer: threading.Timer | None = None

    def expect(self) -> None:
        """A file may come soon. Blocks for the milliseconds that it takes to start a process.

        Where none can be started now (too many, no memory) nothing happens: `take` tries again.
        """
        with self._lock, suppress(OSError):
            self._child = self._waiting() or Child(self._script)
            self._timer = threading.Timer(self._idle_seconds, self.close)
            self._timer.daemon = True
            self._timer.start()

    def take(self) -> Child:
        """The one that waits, else a new one."""
        with self._lock:
            return self._waiting() or Child(self._script)

    def close(self) -> None:
        """End the one that waits."""
        with self._lock:
            child = self._waiting()
        if child is not None:
            child.end()

    def _waiting(self) -> Child | None:
        """The one that waits, which is the caller's now."""
        if self._timer is not None:
            self._timer.cancel()
        child, self._child = self._child, None
        if child is not None and not child.waits:
            child.end()
            child = None
        return child


def bare_environment() -> dict[str, str]:
    """What a child needs to start, and no secret. One thread: the pools of more would count as memory.

    ONNX Runtime would keep a database in the home folder and send what it counts to its maker.
    """
    needed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    said = {"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
    return {**needed, **said}
