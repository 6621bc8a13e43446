"""The graph in ONNX Runtime: rows -> what the model says about each."""

import os
from dataclasses import dataclass
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # newer releases would send what they count to their maker

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort

from .errors import IntegrityFailed, ModelFailed
from .inputs import Row, columns
from .signature import LABEL, PROBABILITIES, VALUE, Signature

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
_ELEMENT = {"tensor(float)": "float32", "tensor(double)": "float64"}


@dataclass
class Prediction:
    """What the model says about one row: a class with the probabilities of all (in the signature's order, where the
    model gives them), or a number."""

    prediction: str | float
    probabilities: list[float] | None


class Model:
    """One graph. `run` may be called by several threads at once.

    Raises `IntegrityFailed` when ONNX Runtime can't load the graph or it contradicts its signature.
    """

    def __init__(self, graph: bytes, signature: Signature, *, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except _ORT_ERRORS as error:
            raise IntegrityFailed(f"ONNX Runtime {onnxruntime.__version__} can't load the graph: {error}") from error
        self._signature = signature
        self._code_of = {name: code for code, name in enumerate(signature.classes or ())}
        nodes = {node.name: node for node in self._session.get_inputs()}
        if nodes.keys() != {feature.name for feature in signature.inputs}:
            raise IntegrityFailed("the graph's inputs are not those of the signature")
        self._flat = []
        self.max_rows: int | None = None
        for feature in signature.inputs:
            node = nodes[feature.name]
            element = _ELEMENT.get(node.type, node.type.removeprefix("tensor(").removesuffix(")"))
            if element != feature.dtype:
                raise IntegrityFailed(f"input {feature.name!r} is {element} in the graph, {feature.dtype} elsewhere")
            if len(node.shape) == 1:
                self._flat.append(feature.name)
            if isinstance(node.shape[0], int):
                self.max_rows = 1
        self._outputs = [output.name for output in signature.outputs]
        missing = set(self._outputs) - {node.name for node in self._session.get_outputs()}
        if missing:
            raise IntegrityFailed(f"the graph has no output {', '.join(sorted(missing))}")
        roles = {output.role: place for place, output in reversed(list(enumerate(signature.outputs)))}
        self._probabilities, self._label = roles.get(PROBABILITIES), roles.get(LABEL)
        self._value = roles.get(VALUE, 0)

    def run(self, rows: list[Row]) -> list[Prediction]:
        """One prediction a row. Raises `ModelFailed`."""
        feed = columns(self._signature, rows)
        for name in self._flat:
            feed[name] = feed[name].reshape(len(rows))
        try:
            outputs = self._session.run(self._outputs, feed)
        except _ORT_ERRORS as error:
            line = (str(error).splitlines() or [type(error).__name__])[0][:300]
            raise ModelFailed(f"the model raised: {line}") from error
        for name, output in zip(self._outputs, outputs, strict=True):
            if not isinstance(output, np.ndarray) or output.ndim < 1 or output.shape[0] != len(rows):
                raise ModelFailed(f"output {name!r} does not have one entry a row")
        return self._read(outputs, len(rows))

    def _read(self, outputs: list[Any], rows: int) -> list[Prediction]:
        classes = self._signature.classes
        if classes is None:
            try:
                numbers = outputs[self._value].reshape(rows, -1)[:, 0].astype(np.float64)
            except (ValueError, IndexError) as error:
                raise ModelFailed(f"the value output holds no numbers: {error}") from error
            return [Prediction(number, None) for number in numbers.tolist()]
        if self._probabilities is not None:
            table = outputs[self._probabilities].astype(np.float32, copy=False)
            if table.ndim != 2 or table.shape[1] != len(classes):
                raise ModelFailed(f"the probabilities have shape {list(table.shape)}, for {len(classes)} classes")
            codes = table.argmax(axis=1).tolist()
            return [Prediction(classes[code], row) for code, row in zip(codes, table.tolist(), strict=True)]
        if self._label is None:
            raise ModelFailed("the signature has classes, but no output with the role probabilities or label")
        labels = outputs[self._label].reshape(rows, -1)[:, 0].tolist()
        return [Prediction(classes[self._code(label)], None) for label in labels]

    def _code(self, label: object) -> int:
        code = self._code_of.get(str(label))
        if code is None and isinstance(label, int) and 0 <= label < len(self._code_of):
            code = label
        if code is None:
            raise ModelFailed(f"the model answered {str(label)[:100]!r}, which is none of its classes")
        return code
