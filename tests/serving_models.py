"""Small ONNX models for the tests of serving, each with its signature."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from schemas.features import DType, Feature, Output, OutputRole, Signature

CLASSES = ("normal", "dos", "probe")

VECTOR = Signature(
    inputs=(Feature(name="x", dtype=DType.FLOAT32, shape=(4,)),),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
    classes=CLASSES,
)
"""One tensor input of four floats."""

TABLE = Signature(
    inputs=(
        Feature(name="duration", dtype=DType.FLOAT32),
        Feature(name="service", dtype=DType.STRING),
        Feature(name="count", dtype=DType.INT64),
        Feature(name="src-bytes", dtype=DType.FLOAT32, nullable=True),
    ),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
    classes=CLASSES,
)
"""Raw named features; `src-bytes` may be missing."""

NUMBER = Signature(
    inputs=(Feature(name="a", dtype=DType.FLOAT32), Feature(name="b", dtype=DType.FLOAT32)),
    outputs=(Output(name="sum", dtype=DType.FLOAT32, shape=(1,), role=OutputRole.VALUE),),
)
"""Regression: the sum of two numbers."""


def vector_model(path: Path, scale: float = 1.0) -> Path:
    """softmax(x W), where W copies the first three of four features times `scale`."""
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32) * np.float32(scale), "W")
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])]
    return _write(path, nodes, inputs, [_probabilities()], [weights])


def table_model(path: Path) -> Path:
    """A string becomes a number, an integer a float, a missing float zero; softmax over three of them."""
    zero = numpy_helper.from_array(np.zeros((1, 1), dtype=np.float32), "zero")
    nodes = [
        helper.make_node(
            "LabelEncoder",
            ["service"],
            ["service_code"],
            domain="ai.onnx.ml",
            keys_strings=["http", "smtp"],
            values_floats=[1.0, 2.0],
            default_float=0.0,
        ),
        helper.make_node("Cast", ["count"], ["count_float"], to=TensorProto.FLOAT),
        helper.make_node("IsNaN", ["src-bytes"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "src-bytes"], ["bytes_filled"]),
        helper.make_node("Add", ["count_float", "bytes_filled"], ["count_and_bytes"]),
        helper.make_node("Concat", ["duration", "service_code", "count_and_bytes"], ["z"], axis=1),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("duration", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("service", TensorProto.STRING, [None, 1]),
        helper.make_tensor_value_info("count", TensorProto.INT64, [None, 1]),
        helper.make_tensor_value_info("src-bytes", TensorProto.FLOAT, [None, 1]),
    ]
    return _write(path, nodes, inputs, [_probabilities()], [zero])


def number_model(path: Path) -> Path:
    """a + b."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("a", "b")]
    return _write(path, nodes, inputs, [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])], [])


def _probabilities() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])


def _write(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> Path:
    graph = helper.make_graph(nodes, "model", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
