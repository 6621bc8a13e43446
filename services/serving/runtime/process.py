"""One child process that runs a SavedModel: started, asked, ended. Blocking; one thread asks at a time."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from services.kernel.errors import IntegrityFailed, TrimtabError, Unavailable
from services.kernel.leash import leashed
from services.serving.runtime import Array, RuntimeFailed, savedmodel_child, wire

ERROR_BYTES = 600
"""The end of what a child wrote to its standard error, kept for the reason why it ended."""
REAP_SECONDS = 5.0
"""How long a process that has closed its end may take to be gone, before it is killed."""


@dataclass(frozen=True)
class ProcessOptions:
    """What a child may use.

    `threads`: of one call; `memory_bytes`: of its data (`RLIMIT_DATA`), TensorFlow's own 450 MB among them;
    `start_seconds`: until it has loaded; `run_seconds`: for one batch; `gpu`: whether it sees one.
    """

    threads: int = 1
    memory_bytes: int = 4 << 30
    start_seconds: float = 120.0
    run_seconds: float = 60.0
    gpu: bool = False


class ModelProcess:
    """A child with a loaded model. It dies with the thread that makes it, or at `end`."""

    def __init__(self, directory: Path, options: ProcessOptions) -> None:
        """Start and load. Raises `IntegrityFailed` when it is refused, `Unavailable` when it crashes or hangs."""
        self._options = options
        self._said = bytearray()
        assert savedmodel_child.__file__ is not None
        told = json.dumps({key: value for key, value in asdict(options).items() if not key.endswith("seconds")})
        try:
            self._line, far = socket.socketpair()
            with far:
                script = [sys.executable, "-I", "-B", savedmodel_child.__file__]
                self._process = subprocess.Popen(
                    leashed([*script, str(far.fileno()), str(directory.absolute()), told]),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=_environment(gpu=options.gpu),
                    pass_fds=(far.fileno(),),
                )
        except OSError as error:
            raise Unavailable(f"no process for the model could be started: {error.strerror}") from error
        self._listener = threading.Thread(target=self._listen, name="savedmodel-stderr", daemon=True)
        self._listener.start()
        try:
            self.about, _ = self._receive(options.start_seconds, "was not loaded")
            if self.about.get("kind") != "ready":
                raise IntegrityFailed(f"the SavedModel is not served: {self.about.get('detail', 'it said nothing')}")
        except TrimtabError:
            self.end()
            self.wait()
            raise
        self._said.clear()  # TensorFlow greets

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds now; 0 once it is gone."""
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    def ask(self, feed: Mapping[str, Array], outputs: Sequence[str]) -> list[Array]:
        """The named outputs for a feed. Raises `RuntimeFailed` when the model raised, `Unavailable` when the process
        crashed or took too long: then it has ended."""
        try:
            wire.send(self._line, {"kind": "run"}, feed.items(), within=self._options.run_seconds)
        except TimeoutError as error:
            raise self._hung("did not take its rows", self._options.run_seconds) from error
        except OSError as error:
            raise self._gone() from error
        answer, tensors = self._receive(self._options.run_seconds, "did not answer")
        if answer.get("kind") != "outputs":
            raise RuntimeFailed(f"the model raised: {answer.get('detail', 'it said nothing')}"[:300])
        absent = [name for name in outputs if name not in tensors]
        if absent:
            raise RuntimeFailed(f"the model returned no {absent[0]!r}")
        return [tensors[name] for name in outputs]

    def wait(self) -> str:
        """Block until it has ended; how."""
        status = self._process.wait()
        self._listener.join(REAP_SECONDS)
        return self._ending(status)

    def end(self) -> None:
        """Kill it, if it lives. Does not wait."""
        self._process.kill()
        self._line.close()

    def _receive(self, seconds: float, missing: str) -> tuple[dict[str, Any], dict[str, Array]]:
        try:
            return wire.receive(self._line, max_bytes=self._options.memory_bytes, within=seconds)
        except TimeoutError as error:
            raise self._hung(missing, seconds) from error
        except (OSError, EOFError) as error:
            raise self._gone() from error
        except wire.BadFrame as error:
            self.end()
            raise RuntimeFailed(f"the model's process broke the protocol: {error}") from error

    def _hung(self, missing: str, seconds: float) -> Unavailable:
        self.end()
        return Unavailable(f"the model's process {missing} within {seconds:g} s and was ended")

    def _gone(self) -> Unavailable:
        try:
            status = self._process.wait(REAP_SECONDS)
        except subprocess.TimeoutExpired:  # it has closed its end and lives
            self.end()
            return Unavailable("the model's process stopped answering and was ended")
        self._listener.join(REAP_SECONDS)
        return Unavailable(f"the model's process {self._ending(status)}")

    def _ending(self, status: int) -> str:
        how = f"ended with status {status}"
        if status < 0:
            how = f"was ended by {signal.Signals(-status).name}"
        words = " ".join(self._said.decode(errors="replace").split())
        return f"{how}: {words}" if words else how

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as source:
            while piece := os.read(source.fileno(), 1 << 16):
                self._said += piece
                del self._said[:-ERROR_BYTES]


def _environment(*, gpu: bool) -> dict[str, str]:
    """What the child needs, and no secret."""
    names = ("PATH", "LD_LIBRARY_PATH", *(("CUDA_VISIBLE_DEVICES", "CUDA_HOME") if gpu else ()))
    needed = {name: os.environ[name] for name in names if name in os.environ}
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": "-1"}
    return {**needed, **hidden, "LANG": "C.UTF-8", "TF_CPP_MIN_LOG_LEVEL": "2", "KERAS_BACKEND": "tensorflow"}
