"""ONNX Runtime in the process."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from schemas.features import DType, Signature
from services.kernel.errors import IntegrityFailed
from services.serving.runtime import Array, RuntimeFailed
from services.serving.runtime.interface import Value, checked, fit
from services.serving.runtime.providers import chosen

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
    until the model is unloaded. `enable_gpu`: on CUDA where this ONNX Runtime has it.
    """

    intra_op_threads: int = 1
    memory_arena: bool = False
    enable_gpu: bool = False


class OnnxRuntime:
    """An ONNX graph behind the `Runtime` interface, checked against its signature when it is loaded.

    Raises `IntegrityFailed` when the file is no readable graph or its inputs and outputs contradict the signature.
    """

    executor = None
    outside_bytes = 0

    def __init__(self, path: Path, signature: Signature, options: OnnxOptions | None = None) -> None:
        options = options or OnnxOptions()
        session_options = onnxruntime.SessionOptions()
        session_options.intra_op_num_threads = options.intra_op_threads
        session_options.inter_op_num_threads = 1
        session_options.enable_cpu_mem_arena = options.memory_arena
        session_options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(str(path), session_options, providers=chosen(options.enable_gpu))
        except _ORT_ERRORS as error:
            raise IntegrityFailed(f"{path.name} is not a graph that ONNX Runtime can load: {error}") from error
        self._session = session
        # `InferenceSession.run` looks at every input's name again at every call; `fit` has done so once.
        self._run = session._sess.run
        self._outputs = [output.name for output in signature.outputs]
        inputs = [
            Value(node.name, _ELEMENT.get(node.type), tuple(node.shape), node.type) for node in session.get_inputs()
        ]
        self._fit = fit(signature, inputs, [node.name for node in session.get_outputs()])
        self.max_rows = self._fit.max_rows
        self.provider: str = session.get_providers()[0]

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `Runtime.run`."""
        try:
            outputs = self._run(self._outputs, self._fit.fed(feed, rows), None)
        except _ORT_ERRORS as error:
            raise RuntimeFailed(f"the model raised: {_first_line(error)}") from error
        return checked(self._outputs, outputs, rows)

    def close(self) -> None:
        """Release the session and its memory."""
        del self._session, self._run


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
