"""The encoding in NumPy and in ONNX say the same, missing and unseen values included."""

import numpy as np
import onnx
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from schemas.features import Signature
from services.trainer.encoding import Encoding, Matrix
from services.trainer.errors import ExportFailed
from services.trainer.graph import OPSET, build, probabilities, session, verify, with_gaps
from services.trainer.inference import infer_inputs, probabilities_signature


def _network(width: int, classes: int, seed: int = 0) -> tuple[onnx.ModelProto, Matrix]:
    """softmax(x W) with random W `[width, classes]`."""
    weights = np.random.default_rng(seed).normal(size=(width, classes)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=-1)]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])]
    outputs = [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, classes])]
    graph = helper.make_graph(nodes, "n", inputs, outputs, [numpy_helper.from_array(weights, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)]), weights


def _softmax(z: Matrix) -> Matrix:
    powers = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _table() -> pa.Table:
    return pa.table(
        {
            "size": pa.array([1.0, None, 1e9, -4.5, 0.0, 2.0]),
            "constant": pa.array([7.0] * 6),
            "kind": pa.array(["tcp", "udp", None, "tcp", "icmp", "udp"]),
            "open": pa.array([True, None, False, True, True, False]),
            "flag": pa.array(["S0", "SF", "SF", "S0", "SF", "SF"]),
        }
    )


def _joined(table: pa.Table) -> tuple[bytes, Encoding, Signature, Matrix]:
    signature = probabilities_signature(infer_inputs(table)[0], ("a", "b", "c"))
    encoding = Encoding.learn(table, signature)
    network, weights = _network(encoding.width, 3)
    return build(network, encoding, signature), encoding, signature, weights


def test_the_graph_takes_raw_named_values() -> None:
    model, encoding, signature, weights = _joined(_table())
    loaded = onnx.load_from_string(model)
    assert [i.name for i in loaded.graph.input] == ["size", "constant", "kind", "open", "flag"]
    assert [o.name for o in loaded.graph.output] == ["probabilities"]
    assert {o.domain: o.version for o in loaded.opset_import} == {"": 18, "ai.onnx.ml": 3}
    assert encoding.width == 2 + 1 + 4 + 2  # numbers, boolean, kind with missing, flag
    odd = with_gaps(pa.concat_tables([_table()] * 3), signature)
    for rows in (_table(), odd):
        assert verify(model, rows, _softmax(encoding.encode(rows) @ weights), signature) < 1e-6


def test_an_unseen_category_and_a_missing_number_are_zeros() -> None:
    _, encoding, _, _ = _joined(_table())
    row = pa.table(
        {"size": pa.array([None], pa.float64()), "constant": [7.0], "kind": ["gre"], "open": [False], "flag": ["REJ"]}
    )
    assert not encoding.encode(row).any()


def test_the_same_rows_and_network_give_the_same_bytes() -> None:
    assert _joined(_table())[0] == _joined(_table())[0]


def test_a_graph_that_is_not_the_network_is_refused() -> None:
    model, encoding, signature, weights = _joined(_table())
    expected = _softmax(encoding.encode(_table()) @ weights)
    with pytest.raises(ExportFailed, match="differs from the network by"):
        verify(model, _table(), expected + np.float32(0.001), signature)
    with pytest.raises(ExportFailed, match="can't load"):
        session(model[:-40])


def test_columns_of_one_kind_only() -> None:
    for name in ("size", "kind", "open"):
        table = _table().select([name])
        model, encoding, signature, weights = _joined(table)
        assert verify(model, table, _softmax(encoding.encode(table) @ weights), signature) < 1e-6


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.floats(-(2.0**100), 2.0**100, width=32),
            st.none() | st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=5),
            st.booleans(),
        ),
        min_size=2,
        max_size=20,
    )
)
def test_numpy_and_onnx_agree_on_any_rows(rows: list[tuple[float | None, str | None, bool]]) -> None:
    numbers, texts, flags = zip(*rows, strict=True)
    table = pa.table(
        {
            "n": pa.array(numbers, pa.float64()),
            "s": pa.array(texts, pa.string()),
            "b": pa.array(flags, pa.bool_()),
        }
    )
    model, encoding, signature, weights = _joined(table)
    expected = _softmax(encoding.encode(table) @ weights)
    assert np.abs(probabilities(session(model), table, signature) - expected).max() < 1e-4
