"""Small ONNX graphs, honest and hostile."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSETS = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]


def classifier(seed: int = 0, classes: int = 3, extra: str = "") -> onnx.ModelProto:
    """Inputs `duration` (float32 `[batch, 1]`), `protocol` (string) and `extra`; output `probabilities`."""
    rng = np.random.default_rng(seed)
    weights = numpy_helper.from_array(rng.normal(size=(2, classes)).astype(np.float32), "weights")
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["protocol"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["tcp", "udp"],
            values_floats=[1.0, 2.0],
            default_float=0.0,
        ),
        helper.make_node("Concat", ["duration", "code"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "weights"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("duration", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("protocol", TensorProto.STRING, ["batch", 1]),
    ]
    if extra:
        inputs.append(helper.make_tensor_value_info(extra, TensorProto.FLOAT, ["batch", 1]))
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", classes])]
    return finish(helper.make_graph(nodes, "classifier", inputs, outputs, [weights]))


def finish(graph: onnx.GraphProto, opsets: list[onnx.OperatorSetIdProto] | None = None) -> onnx.ModelProto:
    """A model of `graph`."""
    return helper.make_model(graph, opset_imports=opsets or OPSETS, ir_version=9)


def one_op(node: onnx.NodeProto, *, dims: list[object] | None = None, initializers: tuple = ()) -> onnx.ModelProto:  # type: ignore[type-arg]
    """`x` float32 -> `node` -> `y`."""
    shape = ["batch", 1] if dims is None else dims
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        list(initializers),
    )
    return finish(graph)


def weighty(mebibytes: int) -> onnx.ModelProto:
    """`x` float32 -> `y`, with so many MiB of random weights."""
    data = np.random.default_rng().bytes(1 << 20) * mebibytes
    weights = helper.make_tensor("w", TensorProto.UINT8, [len(data)], data, raw=True)
    graph = helper.make_graph(
        [
            helper.make_node("Slice", ["w", "zero", "one"], ["first"]),
            helper.make_node("Cast", ["first"], ["bias"], to=TensorProto.FLOAT),
            helper.make_node("Add", ["x", "bias"], ["y"]),
        ],
        "weighty",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [weights, *(numpy_helper.from_array(np.array([at], np.int64), name) for at, name in ((0, "zero"), (1, "one")))],
    )
    return finish(graph)


def save(model: onnx.ModelProto, path: Path) -> Path:
    """Write as is, without any check."""
    path.write_bytes(model.SerializeToString())
    return path
