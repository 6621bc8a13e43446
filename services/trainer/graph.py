"""One ONNX graph from raw named features to `probabilities`: the encoding and the network, joined and verified.

The graph has one input `[batch, 1]` a feature, opset 18 and ai.onnx.ml 3. All numbers share
their nodes, so the encoding adds about eight nodes, and two for each string.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from schemas.features import DType, Signature
from services.trainer.encoding import Encoding, Matrix, feeds
from services.trainer.errors import ExportFailed
from services.trainer.inference import INTERNAL_PREFIX, PROBABILITIES

OPSET = 18
ML_OPSET = 3
IR_VERSION = 9
TOLERANCE = 1e-4
"""Largest difference of a probability between the graph and the network that trained it."""

ENCODE_PREFIX = INTERNAL_PREFIX + "encode/"
NETWORK_PREFIX = INTERNAL_PREFIX + "network/"
ENCODED = ENCODE_PREFIX + "row"

_ELEMENT_TYPES = {DType.FLOAT32: TensorProto.FLOAT, DType.STRING: TensorProto.STRING, DType.BOOL: TensorProto.BOOL}


class _Nodes:
    """Nodes and constants of the encoding, in topological order."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any]) -> str:
        self.constants.append(numpy_helper.from_array(value, ENCODE_PREFIX + name))
        return ENCODE_PREFIX + name

    def add(self, operator: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: Any) -> str:
        name = ENCODE_PREFIX + output
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, domain=domain, **attributes))
        return name


def build(network: onnx.ModelProto, encoding: Encoding, signature: Signature) -> bytes:
    """The joined graph, serialized. `network` takes `[batch, encoding.width]` and returns `[batch, classes]`.

    Deterministic: the same network and encoding give the same bytes. Raises `ExportFailed`.
    """
    nodes = _Nodes()
    _encode(nodes, encoding)
    inner = _prefixed(network)
    classes = len(signature.classes or ())
    graph = helper.make_graph(
        [*nodes.nodes, *inner.node],
        "trimtab",
        [helper.make_tensor_value_info(f.name, _ELEMENT_TYPES[f.dtype], ["batch", 1]) for f in signature.inputs],
        [helper.make_tensor_value_info(PROBABILITIES, TensorProto.FLOAT, ["batch", classes])],
        [*nodes.constants, *inner.initializer],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="trimtab")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ExportFailed(f"the exported graph is not valid ONNX: {error}") from error
    return bytes(model.SerializeToString(deterministic=True))


def _encode(nodes: _Nodes, encoding: Encoding) -> None:
    parts: list[str] = []
    if encoding.numbers:
        joined = nodes.add("Concat", encoding.numbers, "numbers", axis=1)
        centred = nodes.add("Sub", [joined, nodes.constant("means", encoding.means)], "centred")
        deviations = nodes.constant("deviations", encoding.deviations)
        scaled = nodes.add("Div", [centred, deviations], "scaled")
        missing = nodes.add("IsNaN", [scaled], "missing")
        zero = nodes.constant("zero", np.zeros((), np.float32))
        parts.append(nodes.add("Where", [missing, zero, scaled], "imputed"))
    if encoding.flags:
        flags = nodes.add("Concat", encoding.flags, "booleans", axis=1)
        parts.append(nodes.add("Cast", [flags], "flags", to=TensorProto.FLOAT))
    if encoding.categories:
        parts.append(_one_hot(nodes, encoding.categories))
    nodes.add("Concat", parts, "row", axis=1)


def _one_hot(nodes: _Nodes, categories: dict[str, tuple[str, ...]]) -> str:
    """Each string's row of an identity matrix, whose last row is zeros: for a category that has no place.

    `OneHot` is slower: 256 rows, 3 strings and 84 categories take 27 us like this and 112 us with it.
    """
    parts: list[str] = []
    for name, known in categories.items():
        place = nodes.add(
            "LabelEncoder",
            [name],
            f"place/{name}",
            domain="ai.onnx.ml",
            keys_strings=list(known),
            values_int64s=list(range(len(known))),
            default_int64=len(known),
        )
        rows = np.concatenate([np.eye(len(known), dtype=np.float32), np.zeros((1, len(known)), np.float32)])
        table = nodes.constant(f"rows/{name}", rows)
        parts.append(nodes.add("Gather", [table, place], f"category/{name}", axis=0))
    joined = nodes.add("Concat", parts, "joined", axis=2)
    return nodes.add("Flatten", [joined], "categories")


def _prefixed(network: onnx.ModelProto) -> onnx.GraphProto:
    """The network's nodes and constants under names of their own, fed by the encoding, answering as `probabilities`."""
    opsets = {opset.domain: opset.version for opset in network.opset_import}
    if opsets.get("", OPSET) != OPSET or len(network.graph.input) != 1 or len(network.graph.output) != 1:
        raise ExportFailed(
            f"the network was exported with opset {opsets.get('')}, {len(network.graph.input)} inputs and "
            f"{len(network.graph.output)} outputs; expected opset {OPSET} and one of each"
        )
    inner = onnx.compose.add_prefix(network, NETWORK_PREFIX).graph
    renamed = {inner.input[0].name: ENCODED, inner.output[0].name: PROBABILITIES}
    _rename(inner, renamed)
    for position, node in enumerate(inner.node):
        node.name = f"{NETWORK_PREFIX}{position}"
        node.doc_string = ""
    return inner


def _rename(graph: onnx.GraphProto, renamed: dict[str, str]) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _rename(attribute.g, renamed)


def session(model: bytes, threads: int = 1) -> onnxruntime.InferenceSession:
    """The graph loaded in ONNX Runtime on `threads` CPU threads. Raises `ExportFailed`."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as error:
        raise ExportFailed(f"ONNX Runtime can't load the graph: {error}") from error


def probabilities(
    loaded: onnxruntime.InferenceSession, features: pa.Table, signature: Signature, output: str = PROBABILITIES
) -> Matrix:
    """`[rows, classes]` float32 from raw rows. Raises `ExportFailed` when the graph refuses them."""
    try:
        return np.asarray(loaded.run([output], feeds(features, signature))[0], dtype=np.float32)
    except _runtime_errors() as error:
        raise ExportFailed(f"ONNX Runtime can't run the graph: {error}") from error


def verify(model: bytes, rows: pa.Table, expected: Matrix, signature: Signature) -> float:
    """The largest difference between the graph's and the network's probabilities (`expected`, `[rows, classes]`).

    Raises `ExportFailed` past `TOLERANCE`: an export that raised nothing proves nothing.
    """
    answered = probabilities(session(model), rows, signature)
    if answered.shape != expected.shape or not np.isfinite(answered).all():
        raise ExportFailed(
            f"the graph answers {answered.shape} where the network answers {expected.shape}, or no numbers"
        )
    difference = float(np.abs(answered - expected).max(initial=0.0))
    if difference > TOLERANCE:
        raise ExportFailed(f"the graph differs from the network by {difference:.2g}; allowed are {TOLERANCE:.0e}")
    return difference


def with_gaps(rows: pa.Table, signature: Signature) -> pa.Table:
    """`rows` as a worst case for verification: in row i feature i mod n is missing, or an unseen category."""
    columns = {}
    for place, feature in enumerate(signature.inputs):
        column = rows.column(feature.name)
        hit = pa.array(np.arange(rows.num_rows) % len(signature.inputs) == place)
        odd = pa.scalar("\x00never seen" if feature.dtype is DType.STRING else None, column.type)
        columns[feature.name] = pa.compute.if_else(hit, odd, column)
    return pa.table(columns)


def _runtime_errors() -> tuple[type[Exception], ...]:
    state = onnxruntime.capi.onnxruntime_pybind11_state
    names = ("Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NotImplemented", "RuntimeException")
    return tuple(getattr(state, name) for name in names)
