"""What runs a model. One small interface; `onnx.py` runs in the process."""

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from services.kernel.errors import Failed

Array = NDArray[Any]


class RuntimeFailed(Failed):
    """The model raised, or what it returned does not fit its signature."""

    code = "model-failed"


class Runtime(Protocol):
    """One loaded model. `run` may be called from any thread, but from one at a time."""

    max_rows: int | None
    """Most rows of one `run`; None: no limit of the model's own (1 for a graph with a fixed batch axis)."""

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """One array `[rows, ...]` per output of the signature, in its order. Scalars are fed as `[rows, 1]`.

        Raises `RuntimeFailed`.
        """
        ...

    def close(self) -> None:
        """Give the memory back. `run` is not called again."""
        ...
