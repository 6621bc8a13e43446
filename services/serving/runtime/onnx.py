"""ONNX Runtime in the process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from schemas.features import DType, Signature
from services.kernel.errors import IntegrityFailed
from services.serving.runtime import Array, RuntimeFailed

_ORT_ERRORS = (
    ort.Fail,
    ort.InvalidArgument,
    ort.InvalidGraph,
    ort.InvalidProtobuf,
    ort.NoModel,
    ort.NoSuchFile,
    ort.NotImplemented,
    ort.RuntimeException,
    ort.EPFail,
    ort.EngineError,
    RuntimeError,
    TypeError,
    ValueError,
)

_ELEMENT: dict[str, DType] = {
    "tensor(bool)": DType.BOOL,
    "tensor(double)": DType.FLOAT64,
    "tensor(float)": DType.FLOAT32,
    "tensor(float16)": DType.FLOAT16,
    "tensor(string)": DType.STRING,
    **{f"tensor({dtype.value})": dtype for dtype in DType if "int" in dtype.value},
}


@dataclass(frozen=True)
class OnnxOptions:
    """How a session runs.

    `intra_op_threads`: threads of one call. One is best below some milliseconds a call: the process scales by workers.
    `memory_arena`: keep freed tensors for the next call. Faster for big activations, but the memory of a peak is held
    until the model is unloaded.
    """

    intra_op_threads: int = 1
    memory_arena: bool = False


class OnnxRuntime:
    """An ONNX graph behind the `Runtime` interface, checked against its signature when it is loaded.

    Raises `IntegrityFailed` when the file is no readable graph or its inputs and outputs contradict the signature.
    """

    def __init__(self, path: Path, signature: Signature, options: OnnxOptions | None = None) -> None:
        options = options or OnnxOptions()
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.intra_op_threads
        session_options.inter_op_num_threads = 1
        session_options.enable_cpu_mem_arena = options.memory_arena
        session_options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(str(path), session_options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise IntegrityFailed(f"{path.name} is not a graph that ONNX Runtime can load: {error}") from error
        self._session = session
        self._outputs = [output.name for output in signature.outputs]
        self._flat: list[str] = []
        self.max_rows: int | None = None
        self._check(session, signature)

    def _check(self, session: onnxruntime.InferenceSession, signature: Signature) -> None:
        nodes = {node.name: node for node in session.get_inputs()}
        wanted = {feature.name for feature in signature.inputs}
        if nodes.keys() != wanted:
            odd = ", ".join(sorted(nodes.keys() ^ wanted))
            raise IntegrityFailed(f"the graph's inputs and the signature's differ: {odd}")
        for feature in signature.inputs:
            node = nodes[feature.name]
            if _ELEMENT.get(node.type) is not feature.dtype:
                raise IntegrityFailed(
                    f"input {feature.name!r} is {node.type} in the graph, {feature.dtype.value} in the signature"
                )
            shape = list(node.shape)
            if feature.shape == () and len(shape) == 1:
                self._flat.append(feature.name)
            elif len(shape) != max(len(feature.shape), 1) + 1:
                raise IntegrityFailed(
                    f"input {feature.name!r} has shape {shape} in the graph, {feature.shape} in the signature"
                )
            if isinstance(shape[0], int):
                self.max_rows = min(shape[0], self.max_rows or shape[0])
        missing = set(self._outputs) - {node.name for node in session.get_outputs()}
        if missing:
            raise IntegrityFailed(f"the graph has no output {', '.join(sorted(missing))}")
        if self.max_rows is not None and self.max_rows != 1:
            raise IntegrityFailed(
                f"the graph's batch axis is fixed at {self.max_rows}: export it with a free batch axis"
            )

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `Runtime.run`."""
        if self._flat:
            feed = {name: array.reshape(rows) if name in self._flat else array for name, array in feed.items()}
        try:
            outputs: list[Array] = self._session.run(self._outputs, feed)
        except _ORT_ERRORS as error:
            raise RuntimeFailed(f"the model raised: {_first_line(error)}") from error
        for name, output in zip(self._outputs, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.ndim < 1 or output.shape[0] != rows:
                raise RuntimeFailed(f"output {name!r} does not have one entry a row")
        return outputs

    def close(self) -> None:
        """Release the session and its memory."""
        del self._session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
