"""Weights are cut out of an ONNX file without being read, and only where the file can't mean anything else."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from services.kernel.errors import InvalidInput
from services.registry.untrusted import graph
from services.registry.untrusted.children import Child
from services.registry.untrusted.inspection import Limits, inspect_graph
from services.registry.untrusted.weights import cut
from tests.graphs import finish, one_op, save

LEAST = 1 << 16
LIMITS = Limits(memory_bytes=2 << 30, seconds=30)


def written(length: int) -> bytes:
    """A length as protobuf writes it."""
    digits = bytearray()
    while length > 127:
        digits.append(length & 127 | 128)
        length >>= 7
    return bytes([*digits, length])


def field(number: int, data: bytes) -> bytes:
    """A field of bytes, by hand."""
    return bytes([number << 3 | 2]) + written(len(data)) + data


def weighty(side: int = 256, *, raw: bool = True) -> onnx.ModelProto:
    """x @ w, twice, with another small initializer between the large ones."""
    large = np.random.default_rng(0).standard_normal((side, side)).astype(np.float32)
    tensors = [numpy_helper.from_array(large, name) for name in ("a", "b")]
    if not raw:
        tensors = [helper.make_tensor(name, TensorProto.FLOAT, [side, side], large.ravel()) for name in ("a", "b")]
    tensors.insert(1, numpy_helper.from_array(np.ones(side, np.float32), "small"))
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["m"]),
        helper.make_node("Add", ["m", "small"], ["n"]),
        helper.make_node("MatMul", ["n", "b"], ["y"]),
    ]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", side]) for name in ("x", "y")]
    return finish(helper.make_graph(nodes, "weighty", values[:1], values[1:], tensors))


def test_what_is_left_is_the_model_without_its_weights() -> None:
    model = weighty()
    data = model.SerializeToString()
    found = cut(memoryview(data), LEAST)
    assert found is not None
    left, weights = found
    assert [part.initializer for part in weights] == [0, 2]
    for part in weights:
        tensor = model.graph.initializer[part.initializer]
        assert data[part.offset : part.offset + part.size] == tensor.raw_data
        tensor.raw_data = b""
    assert onnx.ModelProto.FromString(left) == model
    assert len(left) < 3000


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 300), max_size=6), st.integers(1, 200), st.booleans())
def test_cutting_never_changes_anything_else(sizes: list[int], least: int, documented: bool) -> None:
    """`raw_data` aside, protobuf reads the same from what is left as from the whole."""
    model = one_op(helper.make_node("Identity", ["x"], ["y"]))
    for at, size in enumerate(sizes):
        tensor = TensorProto(name=f"t{at}", data_type=TensorProto.UINT8, dims=[size], raw_data=bytes(size))
        if documented:
            tensor.doc_string = "behind the data"
        model.graph.initializer.append(tensor)
    found = cut(memoryview(model.SerializeToString()), least)
    if found is None:
        return
    for part in found[1]:
        assert part.size == len(model.graph.initializer[part.initializer].raw_data) >= least
        model.graph.initializer[part.initializer].raw_data = b""
    assert onnx.ModelProto.FromString(found[0]) == model


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_the_walk(data: bytes) -> None:
    found = cut(memoryview(data), 1)
    assert found is None or sum(part.size for part in found[1]) <= len(data)


def test_a_file_that_can_be_read_in_two_ways_is_not_cut() -> None:
    raw = field(9, b"\1" * LEAST)
    tensor = field(5, b"\x10\x02" + raw)
    large = field(7, tensor)
    assert cut(memoryview(large), LEAST) is not None
    odd = {
        "two graphs, which protobuf merges": field(7, b"") + large,
        "data twice, of which the last counts": field(7, field(5, raw + raw)),
        "a graph that is no message": b"\x38\x01" + large,
        "an initializer that is no message": field(7, tensor + b"\x28\x01"),
        "data that are no bytes": field(7, field(5, raw + b"\x48\x01")),
        "a group": b"\x0b\x0c" + large,
        "a tag with the number 0": b"\x00\x00" + large,
        "a number longer than it need be": b"\x88\x00\x01" + large,
        "a number of more than 64 bits": b"\x08" + b"\xff" * 9 + b"\x02" + large,
        "a tensor longer than its graph": large[:-1],
        "a graph that ends within a number": field(7, tensor + b"\x08\xff"),
    }
    assert {what: cut(memoryview(data), LEAST) for what, data in odd.items()} == dict.fromkeys(odd)


def test_what_serving_can_not_load_is_refused(tmp_path: Path) -> None:
    """Every part is short enough, the file is not. It is one of holes: a table of zeros that has 2 GiB in all."""
    size = 2_147_483_000
    model = weighty()
    model.graph.ClearField("node")
    model.graph.ClearField("initializer")
    model.graph.node.append(helper.make_node("Gather", ["table", "row"], ["z"]))
    for side, name, kind in ((model.graph.input, "row", TensorProto.INT64), (model.graph.output, "z", 2)):
        side.append(helper.make_tensor_value_info(name, kind, ["batch"]))
    model.graph.node.append(helper.make_node("Identity", ["x"], ["y"]))
    table = TensorProto(name="table", data_type=TensorProto.UINT8, dims=[size]).SerializeToString()
    table += b"\x4a" + written(size)
    graph_ = model.graph.SerializeToString() + b"\x2a" + written(len(table) + size) + table
    for beside, passes in ((0, True), (1000, False)):
        model.doc_string = "x" * beside
        model.ClearField("graph")
        path = tmp_path / f"{beside}.onnx"
        with path.open("wb") as file:
            file.write(model.SerializeToString() + b"\x3a" + written(len(graph_) + size) + graph_)
            file.truncate(file.tell() + size)
        if passes:
            assert path.stat().st_size < 1 << 31
            assert len(inspect_graph(path, LIMITS).inputs) == 2
        else:
            with pytest.raises(InvalidInput, match="2 GiB"):
                inspect_graph(path, LIMITS)


def test_data_in_another_file_are_found_beside_weights_that_were_cut(tmp_path: Path) -> None:
    model = weighty()
    model.graph.initializer[2].external_data.add(key="location", value="/etc/passwd")
    with pytest.raises(InvalidInput, match="another file"):
        inspect_graph(save(model, tmp_path / "model.onnx"), LIMITS)


def test_weights_that_do_not_fit_their_shape_are_refused(tmp_path: Path) -> None:
    for number, dims in enumerate(([256, 255], [256, 257], [-256, -256], [1 << 62, 4])):
        model = weighty()
        model.graph.initializer[2].dims[:] = dims
        with pytest.raises(InvalidInput, match="its shape asks for"):
            inspect_graph(save(model, tmp_path / f"{number}.onnx"), LIMITS)


@pytest.mark.parametrize("raw", [True, False])
def test_weights_are_the_same_mapped_or_copied(tmp_path: Path, raw: bool) -> None:
    """Behind a hard link too, as the registry lays stored files out."""
    path = save(weighty(raw=raw), tmp_path / "stored")
    os.link(path, tmp_path / "model.onnx")
    model, mapped = graph.read(str(tmp_path / "model.onnx"))
    assert (mapped is not None) == raw
    assert len(model.graph.initializer) == 3
    assert [value.name for value in inspect_graph(tmp_path / "model.onnx", LIMITS).outputs] == ["y"]


def test_mapped_weights_are_those_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime answers from them as from the file itself."""
    import onnxruntime as ort

    path = save(weighty(), tmp_path / "model.onnx")
    row = {"x": np.ones((1, 256), np.float32)}
    expected = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, row)
    _, mapped = graph.read(str(path))
    assert mapped is not None
    assert len(mapped.model) < 3000
    options = ort.SessionOptions()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(tmp_path))
    answered = ort.InferenceSession(mapped.model, options, providers=["CPUExecutionProvider"]).run(None, row)
    np.testing.assert_allclose(answered[0], expected[0], rtol=1e-5)


def test_opening_takes_no_memory_for_the_weights(tmp_path: Path) -> None:
    """128 MiB of them, mapped once: 305 MiB of address space in all. Parsed whole they were copied: 432 MiB."""
    path = save(weighty(4096), tmp_path / "model.onnx")
    found = Child(graph).ask(path, 370 << 20, 30)
    assert found["inputs"][0]["dims"] == [None, 4096]
