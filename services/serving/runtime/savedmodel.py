"""A TensorFlow SavedModel behind the `Runtime` interface, in a process of its own that is started again when it ends.

TensorFlow is never imported here: it takes 630 MB that are never returned. A thread of this module owns the process
(the kernel ends a leashed child with the thread that started it) and starts the next one after a growing pause. What
was asked of a process that crashed or hung is not asked again.
"""

import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from schemas.features import DType, Signature
from services.kernel.errors import IntegrityFailed, TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.serving.runtime import Array, RuntimeFailed
from services.serving.runtime.interface import Fit, Value, checked, fit
from services.serving.runtime.process import ModelProcess, ProcessOptions

log = get_logger(__name__)

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
STEADY_SECONDS = 60.0
"""A process that lived so long starts the pauses over."""
CLOSE_SECONDS = 10.0


class SavedModelRuntime:
    """A SavedModel directory behind the `Runtime` interface, checked against its signature when it is loaded."""

    def __init__(self, directory: Path, signature: Signature, options: ProcessOptions | None = None) -> None:
        """Raises `IntegrityFailed` when it can't be loaded or contradicts the signature, `Unavailable` when its process
        crashes or takes too long."""
        self.executor = ThreadPoolExecutor(1, thread_name_prefix="savedmodel")
        self.restarts = 0
        self._directory = directory
        self._options = options or ProcessOptions()
        self._signature = signature
        self._names = [output.name for output in signature.outputs]
        self._strings = {output.name for output in signature.outputs if output.dtype is DType.STRING}
        self._asking = threading.Lock()
        self._process: ModelProcess | None = None
        self._reason = "is being started"
        self._closing = threading.Event()
        self._tried = threading.Event()
        self._failure: TrimtabError | None = None
        self._fit = Fit(frozenset(), None)
        self.provider = ""
        self._keeper = threading.Thread(target=self._own, name="savedmodel-keeper", daemon=True)
        self._keeper.start()
        self._tried.wait()
        failure: TrimtabError | None = self._failure
        if failure is not None:
            self.close()
            raise failure
        self.max_rows = self._fit.max_rows

    @property
    def outside_bytes(self) -> int:
        """See `Runtime.outside_bytes`."""
        process = self._process
        return 0 if process is None else process.resident_bytes

    @property
    def pid(self) -> int | None:
        """The process that answers now; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `Runtime.run`."""
        with self._asking:
            process = self._process
            if process is None:
                raise Unavailable(f"the model's process {self._reason}; it is started again")
            outputs = process.ask(self._fit.fed(feed, rows), self._names)
        texts = [self._texts(name, output) for name, output in zip(self._names, outputs, strict=True)]
        return checked(self._names, texts, rows)

    def close(self) -> None:
        """End the process. Its memory is free as soon as the kernel has taken it down, some milliseconds later."""
        self._closing.set()
        process = self._process
        if process is not None:
            process.end()
        self.executor.shutdown(wait=False)

    def closed(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Whether the process is gone within `seconds` after `close`."""
        self._keeper.join(seconds)
        return not self._keeper.is_alive()

    def _texts(self, name: str, output: Array) -> Array:
        if name not in self._strings or output.dtype != object:
            return output
        texts = np.empty(output.size, dtype=object)
        texts[:] = [value.decode("utf-8", "replace") for value in output.reshape(-1).tolist()]
        return texts.reshape(output.shape)

    def _own(self) -> None:
        try:
            self._keep()
        finally:
            if not self._tried.is_set():  # a defect of ours: nobody may wait for it
                self._failure = self._failure or Unavailable("the model's process could not be looked after")
                self._tried.set()

    def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not self._closing.is_set():
            begun = time.monotonic()
            try:
                process = ModelProcess(self._directory, self._options)
            except (IntegrityFailed, Unavailable, RuntimeFailed) as error:
                self._reason = f"can't be started: {error.detail}"
                if not self._tried.is_set():
                    self._failure = error
                    self._tried.set()
                    return
            else:
                self._reason = self._lived(process)
                if time.monotonic() - begun > STEADY_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
            if self._failure is not None or self._closing.is_set():
                return
            self.restarts += 1
            log.warning("model_process_ended", directory=self._directory.name, reason=self._reason, pause_seconds=pause)
            self._closing.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _lived(self, process: ModelProcess) -> str:
        """Let `process` answer until it has ended; how it ended."""
        if not self._tried.is_set():
            try:
                self._introduce(process.about)
            except IntegrityFailed as error:
                self._failure = error
                process.end()
        if self._failure is None:
            self._process = process
        self._tried.set()
        if self._closing.is_set():  # closed while it was started
            process.end()
        ending = process.wait()
        with self._asking:  # who still asks is told by the closed line
            self._process = None
            process.end()
        return ending

    def _introduce(self, about: Mapping[str, Any]) -> None:
        inputs = [
            Value(value["name"], _DTYPES.get(value["dtype"]), tuple(value["dims"]), value["dtype"])
            for value in about["inputs"]
        ]
        self._fit = fit(self._signature, inputs, [value["name"] for value in about["outputs"]])
        self.provider = "TensorFlow GPU" if about["devices"] else "TensorFlow CPU"


_DTYPES = {dtype.value: dtype for dtype in DType}
"""TensorFlow's names of element types are NumPy's."""
