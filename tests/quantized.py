"""Graphs that have something to shrink, and baseline samples to measure the loss on."""

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from schemas.baseline_sample import write_baseline_sample
from tests.graphs import finish

HIDDEN = 96
CLASSES = ("0", "1", "2")
"""What the registry calls the classes of a graph that comes without a signature."""


def network(seed: int = 0, *, fragile: bool = False) -> onnx.ModelProto:
    """Raw `duration` (scaled inside) and `protocol` (a string), then three layers; output `probabilities`.

    With `fragile` one weight of the second layer is so large that eight bits leave nothing of the others beside it;
    what it multiplies is always 0.
    """
    rng = np.random.default_rng(seed)
    first = rng.normal(size=(2, HIDDEN)).astype(np.float32)
    second = (rng.normal(size=(HIDDEN, HIDDEN)) / np.sqrt(HIDDEN)).astype(np.float32)
    last = rng.normal(size=(HIDDEN, 3)).astype(np.float32)
    if fragile:
        first[:, [0, 64]] = 0
        second[[0, 64], :] = 1e6
    constants = {
        "mean": np.array([[5e5]], np.float32),
        "spread": np.array([[3e5]], np.float32),
        "first": first,
        "second": second,
        "last": last,
        "bias": rng.normal(size=3).astype(np.float32),
    }
    nodes = [
        helper.make_node("Sub", ["duration", "mean"], ["centred"]),
        helper.make_node("Div", ["centred", "spread"], ["scaled"]),
        helper.make_node(
            "LabelEncoder",
            ["protocol"],
            ["code"],
            domain="ai.onnx.ml",
            keys_strings=["tcp", "udp"],
            values_floats=[1.0, -1.0],
            default_float=0.0,
        ),
        helper.make_node("Concat", ["scaled", "code"], ["row"], axis=1),
        helper.make_node("MatMul", ["row", "first"], ["h1"]),
        helper.make_node("Relu", ["h1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "second"], ["h2"]),
        helper.make_node("Relu", ["h2"], ["r2"]),
        helper.make_node("Gemm", ["r2", "last", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info("duration", TensorProto.FLOAT, ["batch", 1]),
        helper.make_tensor_value_info("protocol", TensorProto.STRING, ["batch", 1]),
    ]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 3])]
    weights = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    return finish(helper.make_graph(nodes, "network", inputs, outputs, weights))


def rows(count: int = 400, seed: int = 1) -> dict[str, Any]:
    """Columns that `network` takes: durations up to a million, which no half can hold."""
    rng = np.random.default_rng(seed)
    return {
        "duration": rng.uniform(0, 1e6, count).astype(np.float32),
        "protocol": np.array(rng.choice(["tcp", "udp", "icmp"], count), dtype=object),
    }


def sample(count: int = 400, **more: Any) -> bytes:
    """`baseline.parquet` of `rows`, and further columns."""
    return write_baseline_sample({**rows(count), **more})


def feed(columns: dict[str, Any]) -> dict[str, Any]:
    """Columns as a graph takes them."""
    return {name: values.reshape(-1, 1) for name, values in columns.items()}
