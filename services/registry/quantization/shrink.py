"""From an ONNX graph to a smaller one that takes and returns the same. Pure; run in a capped child (`child.py`).

Only the matrices shrink. Encoders (`ai.onnx.ml`), strings and the scaling of raw features stay as they are, and so do
the types of every input and output.

No row's answer may depend on the rows that share its batch, since a server puts rows of different callers together.
That rules out ONNX Runtime's `quantize_dynamic`: `DynamicQuantizeLinear` takes one scale for the whole batch, so that a
single extreme row costs all its batch-mates their precision (NSL-KDD, one of 10,000 rows with `src_bytes` 1e12: 63 % of
the others get another class). Therefore:

- `int8`: the weights become 8-bit blocks (ONNX Runtime's own `quantize_matmul_8bits`), read by its operator
  `MatMulNBits`, which quantizes activations by row and block. Source:
  https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#com.microsoft.MatMulNBits
- `fp16`: ONNX Runtime's `float16.convert_float_to_float16` from the first matrix on. Raw features may exceed 65,504,
  the largest half, so nothing before it is touched.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLOCK = 64
"""Weights of one scale. Larger blocks save little and are computed differently by row and by batch."""
BYTE_OPSET = helper.make_opsetid("com.microsoft", 1)
INT8_ACTIVATIONS = 4
"""`accuracy_level` of `MatMulNBits`: activations as int8, the only level that is fast."""

MATRICES = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "LSTM", "GRU", "RNN", "Attention"})
"""Operators from which on a graph is a network, where one of their weights is a constant."""
PRECISE = ("Softmax", "LogSoftmax", "Sigmoid")
"""Operators that `fp16` leaves in 32 bits: what they return is read as it is."""


class NothingToShrink(Exception):
    """The graph has no weights that this kind makes smaller; the text says what it looks for."""


def to_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with 8-bit weights in every `MatMul` and plain `Gemm` that gets smaller so. Changes `model`.

    Raises `NothingToShrink`.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    uses = Counter(_read(graph))
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        matrix = _matrix(node, weights)
        if matrix is None or _bytes_as_blocks(matrix) >= matrix.nbytes:
            nodes.append(node)
            continue
        nodes.extend(_blocked(graph, node, matrix))
        uses[node.input[1]] -= 1
    if len(graph.initializer) == len(weights):
        raise NothingToShrink(
            "int8 shrinks the constant 32-bit matrices of MatMul and Gemm, and this graph has none that gets smaller"
        )
    del graph.node[:]
    graph.node.extend(nodes)
    for name, tensor in weights.items():
        if uses[name] == 0:
            graph.initializer.remove(tensor)
    if all(opset.domain != BYTE_OPSET.domain for opset in model.opset_import):
        model.opset_import.append(BYTE_OPSET)
    return model


def to_fp16(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` computing in 16 bits from its first constant matrix on. Changes `model`.

    Raises `NothingToShrink`, and `ValueError` for what ONNX Runtime's tool does not convert.
    """
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    for number, node in enumerate(model.graph.node):
        node.name = f"{number}:{node.name}"  # the tool knows nodes by their names, which may be missing or equal
    mine = {node.name for node in model.graph.node}
    before = _before_the_network(model.graph)
    if len(before) == len(model.graph.node):
        raise NothingToShrink("fp16 shrinks constant 32-bit matrices, and this graph has none")
    converted: onnx.ModelProto = convert_float_to_float16(
        model,
        keep_io_types=True,
        op_block_list=[*DEFAULT_OP_BLOCK_LIST, *PRECISE],
        node_block_list=before,
    )
    _join_casts(converted.graph, mine)
    return converted


def _matrix(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> Any:
    """The constant `[K, N]` that `node` multiplies its input with, or None."""
    if node.op_type not in ("MatMul", "Gemm") or node.domain not in ("", "ai.onnx") or node.input[1] not in weights:
        return None
    tensor = weights[node.input[1]]
    if tensor.data_type != TensorProto.FLOAT or len(tensor.dims) != 2:
        return None
    if node.op_type == "MatMul":
        return numpy_helper.to_array(tensor)
    settings = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1.0 or settings.get("beta", 1.0) != 1.0:
        return None
    array = numpy_helper.to_array(tensor)
    return array.T if settings.get("transB", 0) else array


def _bytes_as_blocks(matrix: Any) -> int:
    inner, outer = matrix.shape
    return int(outer) * -(-int(inner) // BLOCK) * (BLOCK + 4)


def _blocked(graph: onnx.GraphProto, node: onnx.NodeProto, matrix: Any) -> Iterator[onnx.NodeProto]:
    """What stands for `node`; its weights are added to `graph`."""
    from onnxruntime.capi._pybind_state import quantize_matmul_8bits

    inner, outer = matrix.shape
    blocks = -(-inner // BLOCK)
    padded = np.zeros((blocks * BLOCK, outer), np.float32)
    padded[:inner] = matrix
    packed = np.zeros((outer, blocks, BLOCK), np.uint8)
    scales = np.zeros((outer, blocks), np.float32)
    quantize_matmul_8bits(packed, padded, scales, np.zeros((outer, blocks), np.uint8), BLOCK, outer, inner, True)
    name = f"{node.output[0]}:int8"
    graph.initializer.append(numpy_helper.from_array(packed, f"{name}:weights"))
    graph.initializer.append(numpy_helper.from_array(scales, f"{name}:scales"))
    added = node.op_type == "Gemm" and len(node.input) > 2 and bool(node.input[2])
    product = f"{name}:product" if added else node.output[0]
    yield helper.make_node(
        "MatMulNBits",
        [node.input[0], f"{name}:weights", f"{name}:scales"],
        [product],
        name=f"{name}:multiply",
        domain=BYTE_OPSET.domain,
        K=inner,
        N=outer,
        bits=8,
        block_size=BLOCK,
        accuracy_level=INT8_ACTIVATIONS,
    )
    if added:
        yield helper.make_node("Add", [product, node.input[2]], [node.output[0]], name=f"{name}:add")


def _read(graph: onnx.GraphProto) -> Iterator[str]:
    """The names that nodes read, those of subgraphs included, and those that the graph returns."""
    yield from (output.name for output in graph.output)
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _read(inner)


def _before_the_network(graph: onnx.GraphProto) -> list[str]:
    """Names of the nodes that nothing of a constant matrix has reached. Nodes are in topological order in ONNX."""
    weights = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    reached: set[str] = set()
    before = []
    for node in graph.node:
        inside = node.op_type in MATRICES and any(name in weights for name in node.input[1:])
        if inside or not reached.isdisjoint(node.input):
            reached.update(node.output)
        else:
            before.append(node.name)
    return before


def _join_casts(graph: onnx.GraphProto, mine: set[str]) -> None:
    """Where the tool made a number half only to make it whole again for the next node, leave it as it was."""
    made = {node.output[0]: node for node in graph.node if node.op_type == "Cast" and node.name not in mine}
    whole = {
        output: made[cast.input[0]].input[0]
        for output, cast in made.items()
        if cast.attribute[0].i == TensorProto.FLOAT and cast.input[0] in made
    }
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name in whole:
                node.input[place] = whole[name]
    produced = {name for node in graph.node for name in node.output}
    returned = {output.name for output in graph.output}
    for name, source in whole.items():
        if name in returned and source in produced and source not in returned:
            graph.node.remove(made.pop(name))
            _rename(graph, source, name)
    while idle := {name for name in made if name not in set(_read(graph))}:
        for name in idle:
            graph.node.remove(made.pop(name))


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new
