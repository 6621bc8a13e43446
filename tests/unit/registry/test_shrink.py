"""A smaller graph takes and returns what the version's own does, and no row's answer depends on its batch-mates."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.registry.quantization.shrink import NothingToShrink, to_fp16, to_int8
from tests.graphs import classifier, finish
from tests.quantized import HIDDEN, feed, network, rows

Shrink = Callable[[onnx.ModelProto], onnx.ModelProto]
BOTH = pytest.mark.parametrize("shrink", [to_int8, to_fp16])


def answers(model: onnx.ModelProto, fed: dict[str, Any]) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, fed)[0]


def interface(model: onnx.ModelProto) -> Any:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return [(value.name, value.type, value.shape) for value in (*session.get_inputs(), *session.get_outputs())]


@BOTH
def test_it_is_smaller_and_says_nearly_the_same(shrink: Shrink) -> None:
    own, smaller = network(), shrink(network())
    assert len(smaller.SerializeToString()) < 0.65 * len(own.SerializeToString())
    assert interface(smaller) == interface(own)
    before, after = answers(own, feed(rows())), answers(smaller, feed(rows()))
    assert np.abs(before - after).max() < 0.1
    assert (before.argmax(axis=1) != after.argmax(axis=1)).mean() < 0.02


@BOTH
def test_no_answer_depends_on_the_rows_of_others(shrink: Shrink) -> None:
    smaller = shrink(network())
    calm = feed(rows())
    alone = answers(smaller, {name: values[:1] for name, values in calm.items()})
    among = answers(smaller, calm)
    extreme = {name: values.copy() for name, values in calm.items()}
    extreme["duration"][1:] = 1e30
    beside = answers(smaller, extreme)
    np.testing.assert_allclose(among[:1], alone, atol=1e-6)
    np.testing.assert_allclose(beside[:1], alone, atol=1e-6)


@BOTH
def test_the_same_graph_gives_the_same_bytes(shrink: Shrink) -> None:
    one, other = (shrink(network()).SerializeToString(deterministic=True) for _ in range(2))
    assert one == other


@BOTH
def test_what_has_no_matrix_that_shrinks_is_refused(shrink: Shrink) -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "one"], ["y"])],
        "plain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(np.ones((1, 1), np.float32), "one")],
    )
    with pytest.raises(NothingToShrink, match="this graph has none"):
        shrink(finish(graph))


def test_matrices_that_would_grow_stay() -> None:
    with pytest.raises(NothingToShrink, match="none that gets smaller"):
        to_int8(classifier())
    nodes = [node.op_type for node in to_int8(network()).graph.node]
    assert nodes.count("MatMulNBits") == 2, "the second and the last; the first has two rows"
    assert nodes.count("MatMul") == 1


def test_only_the_network_is_halved() -> None:
    smaller = to_fp16(network())
    types = {tensor.name: tensor.data_type for tensor in smaller.graph.initializer}
    assert {types[name] for name in ("mean", "spread")} == {TensorProto.FLOAT}
    assert {types[name] for name in ("first", "second", "last", "bias")} == {TensorProto.FLOAT16}
    halves = [node for node in smaller.graph.node if node.op_type == "Cast"]
    assert len(halves) == 2, "one into the network and one out of it"


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_gemm_keeps_its_bias_and_its_direction(transposed: int) -> None:
    rng = np.random.default_rng(3)
    matrix = rng.normal(size=(HIDDEN, 8)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=transposed)],
        "gemm",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", HIDDEN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
        [
            numpy_helper.from_array(np.ascontiguousarray(matrix.T if transposed else matrix), "w"),
            numpy_helper.from_array(rng.normal(size=8).astype(np.float32), "b"),
        ],
    )
    fed = {"x": rng.normal(size=(32, HIDDEN)).astype(np.float32)}
    before = answers(finish(graph), fed)
    smaller = to_int8(finish(graph))
    assert next(tensor.name for tensor in smaller.graph.initializer) == "b"
    np.testing.assert_allclose(answers(smaller, fed), before, atol=0.5)


def test_a_matrix_that_two_nodes_read_is_kept_for_the_one_that_needs_it() -> None:
    rng = np.random.default_rng(4)
    matrix = (rng.normal(size=(HIDDEN, HIDDEN)) / 10).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["once"]),
            helper.make_node("MatMul", ["once", "w"], ["twice"]),
            helper.make_node("ReduceSum", ["w"], ["all"], keepdims=1),
            helper.make_node("Add", ["twice", "all"], ["y"]),
        ],
        "shared",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", HIDDEN])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", HIDDEN])],
        [numpy_helper.from_array(matrix, "w")],
    )
    fed = {"x": rng.normal(size=(8, HIDDEN)).astype(np.float32)}
    smaller = to_int8(finish(graph))
    assert "w" in {tensor.name for tensor in smaller.graph.initializer}
    np.testing.assert_allclose(answers(smaller, fed), answers(finish(graph), fed), atol=0.2)
