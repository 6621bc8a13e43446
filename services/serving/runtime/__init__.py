"""What runs a model. One small interface; `onnx.py` runs in the process, `savedmodel.py` in a process of its own.

`opening.py` chooses between them.
"""

from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any, Protocol

from numpy.typing import NDArray

from services.kernel.errors import Failed, Unavailable

Array = NDArray[Any]


class RuntimeFailed(Failed):
    """The model raised, or what it returned does not fit its signature."""

    code = "model-failed"


class RuntimeLost(Unavailable):
    """The process that runs the model is gone or hangs; it is started again."""


class Runtime(Protocol):
    """One loaded model. `run` may be called from any thread, but from one at a time."""

    max_rows: int | None
    """Most rows of one `run`; None: no limit of the model's own (1 for a graph with a fixed batch axis)."""

    @property
    def executor(self) -> Executor | None:
        """Its own thread, for a `run` that waits for another process; None: it computes, and may be called anywhere."""
        ...

    @property
    def provider(self) -> str:
        """What it computes on: `CPUExecutionProvider`, `CUDAExecutionProvider`, `TensorFlow CPU`, ..."""
        ...

    @property
    def outside_bytes(self) -> int:
        """Memory that it holds in another process now; 0 when it runs in this one."""
        ...

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """One array `[rows, ...]` per output of the signature, in its order. Scalars are fed as `[rows, 1]`.

        Raises `RuntimeFailed` when the model fails, and `Unavailable` when its process is gone or hangs: then it was
        ended, is started again, and the same rows are better not sent again one by one.
        """
        ...

    def close(self) -> None:
        """Give the memory back. `run` is not called again."""
        ...
