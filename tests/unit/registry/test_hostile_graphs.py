"""Graphs that mean harm, each in the capped child: what they hide, what they ask for, what they never finish."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from services.kernel.errors import InvalidInput, TooLarge
from services.registry.untrusted import graph
from services.registry.untrusted.graph import Refused
from services.registry.untrusted.inspection import Limits, inspect_graph
from tests.graphs import OPSETS, classifier, finish, one_op, save

LIMITS = Limits(memory_bytes=2 << 30, seconds=30)
SMALL = Limits(memory_bytes=600 << 20, seconds=20)

BATCH = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])
OUT = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])


def weight(name: str = "w", shape: tuple[int, ...] = (1, 1)) -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(shape, np.float32), name)


def external(tensor: onnx.TensorProto, location: str) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def identity() -> onnx.ModelProto:
    return one_op(helper.make_node("Identity", ["x"], ["y"]))


def constant(name: str, value: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.asarray(value), name))


# data in other files ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cve", "location"),
    [
        ("CVE-2022-25882", "../../../etc/passwd"),
        ("CVE-2024-27318", "nothing/../../../../etc/passwd"),
        ("CVE-2026-27489", "linked_folder/weights.bin"),
        ("CVE-2026-34447", "link.bin"),
        ("CVE-2026-34446", "hard.bin"),
        ("none: it is beside the model", "weights.bin"),
        ("none: it is not there", "gone.bin"),
        ("none: no name at all", ""),
        ("an absolute path", "/proc/self/environ"),
        ("a URI", "file:///etc/passwd"),
    ],
)
def test_data_in_another_file_are_refused_before_the_file_is_opened(tmp_path: Path, cve: str, location: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "weights.bin").write_bytes(b"\0" * 4)
    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "weights.bin").write_bytes(b"\0" * 4)
    (folder / "link.bin").symlink_to(tmp_path / "outside" / "weights.bin")
    (folder / "linked_folder").symlink_to(tmp_path / "outside")
    os.link(tmp_path / "outside" / "weights.bin", folder / "hard.bin")
    model = one_op(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(external(weight(), location),))
    with pytest.raises(InvalidInput, match="another file"):
        inspect_graph(save(model, folder / "model.onnx"), LIMITS)


def in_the_default_of_a_function() -> onnx.ModelProto:
    model = one_op(helper.make_node("F", ["x"], ["y"], domain="mine"))
    body = [helper.make_node("Identity", ["a"], ["b"])]
    function = helper.make_function("mine", "F", ["a"], ["b"], body, OPSETS)
    function.attribute_proto.append(helper.make_attribute("v", external(weight(), "/etc/passwd")))
    model.functions.append(function)
    return model


def in_a_list_of_tensors() -> onnx.ModelProto:
    model = identity()
    model.graph.node[0].attribute.append(helper.make_attribute("v", [weight(), external(weight("b"), "/etc/passwd")]))
    return model


def in_a_sparse_attribute() -> onnx.ModelProto:
    sparse = helper.make_sparse_tensor(
        weight("values", (1,)), external(numpy_helper.from_array(np.zeros(1, np.int64), "i"), "/etc/passwd"), [1, 1]
    )
    return one_op(helper.make_node("Constant", [], ["y"], sparse_value=sparse))


def in_a_list_of_sparse_tensors() -> onnx.ModelProto:
    model = in_a_sparse_attribute()
    attribute = model.graph.node[0].attribute[0]
    attribute.sparse_tensors.append(attribute.sparse_tensor)
    attribute.ClearField("sparse_tensor")
    return model


def in_a_loop_in_a_branch_in_a_function() -> onnx.ModelProto:
    hidden = helper.make_graph([constant("c", np.float32(0))], "deep", [], [OUT])
    hidden.initializer.append(external(weight(), "/etc/passwd"))
    branch = helper.make_graph([helper.make_node("Loop", ["", "", "x"], ["y"], body=hidden)], "branch", [], [OUT])
    node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = one_op(helper.make_node("F", ["x"], ["y"], domain="mine"))
    model.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [node], OPSETS))
    return model


def in_a_function_that_nobody_calls() -> onnx.ModelProto:
    model = identity()
    node = helper.make_node("Constant", [], ["b"], value=external(weight(), "/etc/passwd"))
    model.functions.append(helper.make_function("mine", "F", ["a"], ["b"], [node], OPSETS))
    return model


def named_without_the_flag() -> onnx.ModelProto:
    """`data_location` says that the data are here, and a location is named all the same."""
    model = one_op(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(weight(),))
    model.graph.initializer[0].external_data.add(key="location", value="/etc/passwd")
    return model


@pytest.mark.parametrize(
    "make",
    [
        in_the_default_of_a_function,
        in_a_list_of_tensors,
        in_a_sparse_attribute,
        in_a_list_of_sparse_tensors,
        in_a_loop_in_a_branch_in_a_function,
        in_a_function_that_nobody_calls,
        named_without_the_flag,
    ],
)
def test_such_data_are_found_wherever_they_are(make: Callable[[], onnx.ModelProto]) -> None:
    with pytest.raises(Refused, match="another file"):
        graph.check_model(make())


def test_training_information_is_refused() -> None:
    model = identity()
    model.training_info.add().algorithm.CopyFrom(model.graph)
    with pytest.raises(Refused, match="training information"):
        graph.check_model(model)


def test_an_unknown_domain_is_found_in_subgraphs_and_functions() -> None:
    foreign = helper.make_node("Run", ["x"], ["y"], domain="com.evil")
    branch = helper.make_graph([foreign], "branch", [], [OUT])
    in_branch = one_op(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    in_function = one_op(helper.make_node("F", ["x"], ["y"], domain="mine"))
    in_function.functions.append(helper.make_function("mine", "F", ["x"], ["y"], [foreign], OPSETS))
    for model in (in_branch, in_function):
        with pytest.raises(Refused, match=r"unknown domain 'com\.evil'"):
            graph.check_model(model)


# more than there is -----------------------------------------------------------------------------------------------


def huge(kind: str, side: int) -> list[onnx.NodeProto]:
    """Nodes that make `huge`, `side` squared floats, out of constants."""
    square = constant("s", np.array([side, side], np.int64))
    one = constant("one", np.ones((1, 1), np.float32))
    return {
        "ConstantOfShape": [square, helper.make_node("ConstantOfShape", ["s"], ["huge"])],
        "Expand": [one, square, helper.make_node("Expand", ["one", "s"], ["huge"])],
        "Tile": [one, square, helper.make_node("Tile", ["one", "s"], ["huge"])],
        "Range": [
            constant("from", np.float32(0)),
            constant("to", np.float32(float(side) ** 2)),
            constant("by", np.float32(1)),
            helper.make_node("Range", ["from", "to", "by"], ["huge"]),
        ],
        "Pad": [
            one,
            constant("p", np.array([0, 0, side, side], np.int64)),
            helper.make_node("Pad", ["one", "p"], ["huge"]),
        ],
    }[kind]


def summed(*nodes: onnx.NodeProto) -> list[onnx.NodeProto]:
    total = helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0)
    return [*nodes, total, helper.make_node("Add", ["x", "sum"], ["y"])]


@pytest.mark.parametrize("kind", ["ConstantOfShape", "Expand", "Tile", "Range", "Pad"])
@pytest.mark.parametrize("side", [20_000, 1 << 20, 1 << 31], ids=["GB", "TB", "EB"])
def test_a_tiny_graph_that_asks_for_too_much_harms_nobody(tmp_path: Path, kind: str, side: int) -> None:
    path = save(finish(helper.make_graph(summed(*huge(kind, side)), "huge", [BATCH], [OUT])), tmp_path / "model.onnx")
    assert path.stat().st_size < 1000
    with pytest.raises((InvalidInput, TooLarge)):
        inspect_graph(path, SMALL)


@pytest.mark.parametrize("kind", ["Expand", "Tile", "Range", "ConstantOfShape"])
def test_a_branch_that_is_never_taken_is_folded_when_it_is_loaded(tmp_path: Path, kind: str) -> None:
    """One row of zeros does not go there, but ONNX Runtime folds its constants at every load, in serving too.

    It leaves out what makes more than 1 GiB; this makes 900 MB.
    """
    then = [*huge(kind, 15_000), helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0)]
    then.append(helper.make_node("Add", ["x", "sum"], ["r"]))
    row = helper.make_tensor_value_info("r", TensorProto.FLOAT, ["batch", 1])
    otherwise = helper.make_graph([helper.make_node("Identity", ["x"], ["r"])], "else", [], [row])
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["t"], keepdims=0),
        constant("z", np.float32(0)),
        helper.make_node("Greater", ["t", "z"], ["c"]),
        helper.make_node(
            "If", ["c"], ["y"], then_branch=helper.make_graph(then, "then", [], [row]), else_branch=otherwise
        ),
    ]
    path = save(finish(helper.make_graph(nodes, "branch", [BATCH], [OUT])), tmp_path / "model.onnx")
    with pytest.raises(InvalidInput, match="its file does not account for"):
        inspect_graph(path, Limits())


def test_functions_that_call_each_other_grow_like_laughter(tmp_path: Path) -> None:
    """30 functions, each calling the one before it twice: a billion nodes once they are inlined."""
    model = one_op(helper.make_node("F30", ["x"], ["y"], domain="mine"))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    opsets = [*OPSETS, helper.make_opsetid("mine", 1)]
    last = [helper.make_node("Sin", ["a"], ["b"])]
    model.functions.append(helper.make_function("mine", "F0", ["a"], ["b"], last, opsets))
    for at in range(1, 31):
        body = [helper.make_node(f"F{at - 1}", [a], [b], domain="mine") for a, b in (("a", "m"), ("m", "b"))]
        model.functions.append(helper.make_function("mine", f"F{at}", ["a"], ["b"], body, opsets))
    path = save(model, tmp_path / "model.onnx")
    assert path.stat().st_size < 10_000
    with pytest.raises((InvalidInput, TooLarge)):
        inspect_graph(path, Limits(memory_bytes=1 << 30, seconds=8))


def test_a_function_that_calls_itself(tmp_path: Path) -> None:
    model = one_op(helper.make_node("F", ["x"], ["y"], domain="mine"))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    opsets = [*OPSETS, helper.make_opsetid("mine", 1)]
    body = [helper.make_node("F", ["a"], ["b"], domain="mine")]
    model.functions.append(helper.make_function("mine", "F", ["a"], ["b"], body, opsets))
    with pytest.raises((InvalidInput, TooLarge)):
        inspect_graph(save(model, tmp_path / "model.onnx"), Limits(memory_bytes=1 << 30, seconds=8))


def test_a_scan_over_more_steps_than_anybody_has_time_for(tmp_path: Path) -> None:
    body = helper.make_graph(
        [helper.make_node("Identity", ["s"], ["s2"]), helper.make_node("Sin", ["e"], ["e2"])],
        "body",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("s", "e")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, []) for name in ("s2", "e2")],
    )
    nodes = [
        *huge("Range", 30_000),
        constant("start", np.float32(0)),
        helper.make_node("Scan", ["start", "huge"], ["end", "all"], body=body, num_scan_inputs=1),
        helper.make_node("Add", ["x", "end"], ["y"]),
    ]
    path = save(finish(helper.make_graph(nodes, "scan", [BATCH], [OUT])), tmp_path / "model.onnx")
    with pytest.raises((InvalidInput, TooLarge)):
        inspect_graph(path, Limits(memory_bytes=1 << 30, seconds=4))


# what parsers choke on --------------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    """If within If within If, written by hand: no library of ours would write it."""

    def field(number: int, data: bytes) -> bytes:
        size, length = b"", len(data)
        while length > 127:
            size, length = size + bytes([length & 127 | 128]), length >> 7
        return bytes([number << 3 | 2]) + size + bytes([length]) + data

    inner = b""
    for _ in range(depth):  # GraphProto{node{op_type If, attribute{name, g, type GRAPH}}}
        attribute = field(1, b"then_branch") + field(6, inner) + b"\xa0\x01\x05"
        inner = field(1, field(4, b"If") + field(5, attribute))
    return b"\x08\x09" + field(7, inner)


@pytest.mark.parametrize("depth", [20, 40, 1000, 20_000])
def test_deep_nesting(tmp_path: Path, depth: int) -> None:
    (tmp_path / "model.onnx").write_bytes(nested(depth))
    with pytest.raises(InvalidInput):
        inspect_graph(tmp_path / "model.onnx", LIMITS)


def test_names_of_a_megabyte_do_not_come_back_to_the_caller(tmp_path: Path) -> None:
    name = "n" * (1 << 20)
    long_input = identity()
    long_input.graph.input[0].name = long_input.graph.node[0].input[0] = name
    long_domain = one_op(helper.make_node(name, ["x"], ["y"], domain=name))
    long_domain.opset_import.append(helper.make_opsetid(name, 1))
    long_tensor = one_op(helper.make_node("MatMul", ["x", name], ["y"]), initializers=(external(weight(name), "a"),))
    long_graph = identity()
    long_graph.graph.name = name
    long_graph.graph.node[0].op_type = name
    for number, model in enumerate((long_input, long_domain, long_tensor, long_graph)):
        with pytest.raises(InvalidInput) as error:
            inspect_graph(save(model, tmp_path / f"{number}.onnx"), LIMITS)
        assert len(error.value.detail) < 1000


def test_odd_inputs_and_outputs(tmp_path: Path) -> None:
    def asks(dims: list[object], dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
        model = identity()
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", dtype, dims))
        return model

    unknown_type = asks(["batch", 1])
    unknown_type.graph.input[0].type.tensor_type.elem_type = 99
    many = identity()
    many.graph.input.extend(
        helper.make_tensor_value_info(f"i{at}", TensorProto.FLOAT, ["batch"]) for at in range(20_000)
    )
    for number, model in enumerate(
        (
            asks(["batch", -1]),
            asks(["batch", 1 << 62]),
            asks([1 << 40, 1 << 40]),
            asks(["batch"] * 100),
            asks(["batch", 1], TensorProto.UNDEFINED),
            asks(["batch", 1], TensorProto.BFLOAT16),
            asks(["batch", 1], TensorProto.INT4),
            unknown_type,
            many,
        )
    ):
        with pytest.raises((InvalidInput, TooLarge)) as error:
            inspect_graph(save(model, tmp_path / f"{number}.onnx"), SMALL)
        assert "its process ended" not in error.value.detail or number in (2, 3), error.value.detail


@pytest.mark.parametrize("size", [4, (1 << 16) - 4, 1 << 16, 1 << 20])
def test_tensors_that_have_other_bytes_than_their_shape(tmp_path: Path, size: int) -> None:
    """Small ones are the runtime's to find, large ones are measured here."""
    for number, dims in enumerate(([size // 4 + 1], [1, size], [-1], [1 << 62, 4])):
        tensor = weight("w", (size // 4,))
        tensor.dims[:] = dims
        model = one_op(helper.make_node("Mul", ["x", "w"], ["y"]), initializers=(tensor,))
        with pytest.raises((InvalidInput, TooLarge)):
            inspect_graph(save(model, tmp_path / f"{number}.onnx"), LIMITS)


def test_weights_are_left_out_of_the_check_and_nothing_else_is() -> None:
    model = one_op(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(weight("w", (1, 1 << 16)), weight("v")))
    before = model.graph.initializer[1].SerializeToString()
    graph.lighten(model)
    assert (model.graph.initializer[0].raw_data, list(model.graph.initializer[0].dims)) == (b"", [0])
    assert model.graph.initializer[1].SerializeToString() == before
    onnx.checker.check_model(model)
    model.graph.node[0].op_type = "Nonsense"
    with pytest.raises(onnx.checker.ValidationError):
        onnx.checker.check_model(model)


def test_every_cut_of_a_model_is_refused(tmp_path: Path) -> None:
    whole = classifier().SerializeToString()
    for length in range(0, len(whole), len(whole) // 12):
        (tmp_path / "model.onnx").write_bytes(whole[:length])
        with pytest.raises(InvalidInput):
            inspect_graph(tmp_path / "model.onnx", LIMITS)
