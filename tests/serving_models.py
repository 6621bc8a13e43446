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

EVERY = Signature(
    inputs=(
        Feature(name="x", dtype=DType.FLOAT32, shape=(4,)),
        Feature(name="flag", dtype=DType.BOOL),
        Feature(name="code", dtype=DType.INT64),
        Feature(name="level", dtype=DType.FLOAT64),
        Feature(name="small", dtype=DType.UINT8),
        Feature(name="word", dtype=DType.STRING),
        Feature(name="amount", dtype=DType.FLOAT32, nullable=True),
    ),
    outputs=(
        Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),
        Output(name="total", dtype=DType.FLOAT64, shape=(1,)),
        Output(name="echo", dtype=DType.STRING, shape=(1,)),
    ),
    classes=CLASSES,
)
"""Every kind of feature and output; `code` is an index below four, and any other fails."""


def vector_model(path: Path, scale: float = 1.0) -> Path:
    """softmax(x W), where W copies the first three of four features times `scale`."""
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32) * np.float32(scale), "W")
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])]
    return write_graph(path, nodes, inputs, [_probabilities()], [weights])


FAILS_FROM = 1000.0
"""The first feature from which on `moody_model` fails."""


def moody_model(path: Path) -> Path:
    """Softmax over the first three of four features; it takes some milliseconds for each unit of the largest first
    feature of a batch, and fails where one is `FAILS_FROM` or more."""
    weights = numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "W")
    constants = [
        weights,
        numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        numpy_helper.from_array(np.float32(FAILS_FROM), "limit"),
        numpy_helper.from_array(np.zeros(1, dtype=np.float32), "one_place"),
        numpy_helper.from_array(np.array(True), "always"),
        numpy_helper.from_array(np.eye(384, dtype=np.float32), "square"),
        numpy_helper.from_array(np.float32(0), "zero"),
    ]
    step = helper.make_graph(
        [
            helper.make_node("Identity", ["going_on"], ["goes_on"]),
            helper.make_node("MatMul", ["before", "square"], ["after"]),
        ],
        "step",
        [
            helper.make_tensor_value_info("number", TensorProto.INT64, []),
            helper.make_tensor_value_info("going_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, [384, 384]),
        ],
        [
            helper.make_tensor_value_info("goes_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, [384, 384]),
        ],
    )
    nodes = [
        helper.make_node("Gather", ["x", "first"], ["moods"], axis=1),
        helper.make_node("GreaterOrEqual", ["moods", "limit"], ["bad"]),
        helper.make_node("Cast", ["bad"], ["places"], to=TensorProto.INT64),
        helper.make_node("Gather", ["one_place", "places"], ["nothing"]),  # place 1 is none
        helper.make_node("ReduceMax", ["moods"], ["mood"], keepdims=0),
        helper.make_node("Cast", ["mood"], ["steps"], to=TensorProto.INT64),
        helper.make_node("Loop", ["steps", "always", "square"], ["squared"], body=step),
        helper.make_node("ReduceMax", ["squared"], ["largest"], keepdims=0),
        helper.make_node("Mul", ["largest", "zero"], ["also_nothing"]),
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Add", ["z", "nothing"], ["z1"]),
        helper.make_node("Add", ["z1", "also_nothing"], ["z2"]),
        helper.make_node("Softmax", ["z2"], ["probabilities"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4])]
    return write_graph(path, nodes, inputs, [_probabilities()], constants)


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
    return write_graph(path, nodes, inputs, [_probabilities()], [zero])


def every_model(path: Path) -> Path:
    """See `EVERY`; its further output `sum` is over the batch, and has one row whatever the batch has."""
    constants = [
        numpy_helper.from_array(np.eye(4, 3, dtype=np.float32), "W"),
        numpy_helper.from_array(np.arange(4, dtype=np.float32), "steps"),
        numpy_helper.from_array(np.zeros((1, 1), dtype=np.float32), "zero"),
        numpy_helper.from_array(np.array([0], dtype=np.int64), "first"),
        numpy_helper.from_array(np.array([-1, 1], dtype=np.int64), "column"),
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
        helper.make_node(
            "LabelEncoder",
            ["word"],
            ["word_number"],
            domain="ai.onnx.ml",
            keys_strings=["http", "smtp"],
            values_floats=[1.0, 2.0],
            default_float=0.0,
        ),
        helper.make_node("Gather", ["steps", "code"], ["step"]),
        helper.make_node("IsNaN", ["amount"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "amount"], ["filled"]),
        helper.make_node("Cast", ["small"], ["small_float"], to=TensorProto.FLOAT),
        helper.make_node("Sum", ["step", "filled", "word_number", "small_float"], ["added"]),
        helper.make_node("Cast", ["added"], ["added_double"], to=TensorProto.DOUBLE),
        helper.make_node("Cast", ["flag"], ["flag_double"], to=TensorProto.DOUBLE),
        helper.make_node("Reshape", ["flag_double", "column"], ["flag_column"]),
        helper.make_node("Sum", ["level", "added_double", "flag_column"], ["total"]),
        helper.make_node("Identity", ["word"], ["echo"]),
        helper.make_node("ReduceSum", ["x", "first"], ["sum"], keepdims=1),
    ]
    kinds = {
        "code": TensorProto.INT64,
        "level": TensorProto.DOUBLE,
        "small": TensorProto.UINT8,
        "word": TensorProto.STRING,
        "amount": TensorProto.FLOAT,
    }
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, 4]),
        helper.make_tensor_value_info("flag", TensorProto.BOOL, [None]),
        *(helper.make_tensor_value_info(name, kind, [None, 1]) for name, kind in kinds.items()),
    ]
    outputs = [
        _probabilities(),
        helper.make_tensor_value_info("total", TensorProto.DOUBLE, [None, 1]),
        helper.make_tensor_value_info("echo", TensorProto.STRING, [None, 1]),
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, [1, 4]),
    ]
    return write_graph(path, nodes, inputs, outputs, constants)


def fixed_model(path: Path) -> Path:
    """`y` is `x`, of a batch of one."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in "xy"]
    return write_graph(path, [helper.make_node("Identity", ["x"], ["y"])], values[:1], values[1:], [])


def number_model(path: Path) -> Path:
    """a + b."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 1]) for name in ("a", "b")]
    return write_graph(path, nodes, inputs, [helper.make_tensor_value_info("sum", TensorProto.FLOAT, [None, 1])], [])


def _probabilities() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])


def write_graph(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> Path:
    """An ONNX file of these parts."""
    graph = helper.make_graph(nodes, "model", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path
