"""Hostile and honest graphs in the capped child."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.errors import InvalidInput, TooLarge
from services.registry.untrusted.inspection import (
    GraphInterface,
    GraphValue,
    Limits,
    check_signature,
    infer_signature,
    inspect_graph,
)
from tests.graphs import classifier, finish, one_op, save

LIMITS = Limits(memory_bytes=2 << 30, seconds=30)


def external(tensor: onnx.TensorProto, location: str) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    return tensor


def weight(name: str = "w") -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones((1, 1), np.float32), name)


def test_an_honest_graph_is_described(tmp_path: Path) -> None:
    found = inspect_graph(save(classifier(), tmp_path / "model.onnx"), LIMITS)
    assert found.inputs == (
        GraphValue("duration", "float32", (None, 1)),
        GraphValue("protocol", "string", (None, 1)),
    )
    assert found.outputs == (GraphValue("probabilities", "float32", (None, 3)),)


@pytest.mark.parametrize("location", ["../../etc/passwd", "/etc/passwd", "weights.bin", "link.bin"])
def test_external_data_is_refused_wherever_it_points(tmp_path: Path, location: str) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\0" * 4)
    (tmp_path / "link.bin").symlink_to("/etc/passwd")
    model = one_op(helper.make_node("MatMul", ["x", "w"], ["y"]), initializers=(external(weight(), location),))
    with pytest.raises(InvalidInput, match="another file"):
        inspect_graph(save(model, tmp_path / "model.onnx"), LIMITS)


def test_external_data_is_found_in_attributes_subgraphs_functions_and_sparse_tensors(tmp_path: Path) -> None:
    constant = helper.make_node("Constant", [], ["y"], value=external(weight(), "/etc/passwd"))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])])
    in_branch = one_op(helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch))
    function = helper.make_function("mine", "F", ["x"], ["y"], [constant], [helper.make_opsetid("", 18)])
    in_function = one_op(helper.make_node("F", ["x"], ["y"], domain="mine"))
    in_function.functions.append(function)
    sparse = one_op(helper.make_node("Identity", ["x"], ["y"]))
    sparse.graph.sparse_initializer.append(
        helper.make_sparse_tensor(
            external(weight("s"), "/etc/passwd"), numpy_helper.from_array(np.zeros(1, np.int64), "i"), [1, 1]
        )
    )
    for number, model in enumerate((one_op(constant), in_branch, in_function, sparse)):
        with pytest.raises(InvalidInput, match="another file"):
            inspect_graph(save(model, tmp_path / f"{number}.onnx"), LIMITS)


@pytest.mark.parametrize("domain", ["com.evil", "com.microsoft", "ai.onnx.training"])
def test_operators_of_unknown_domains_are_refused(tmp_path: Path, domain: str) -> None:
    model = one_op(helper.make_node("Run", ["x"], ["y"], domain=domain))
    model.opset_import.append(helper.make_opsetid(domain, 1))
    with pytest.raises(InvalidInput, match=f"unknown domain '{domain}'"):
        inspect_graph(save(model, tmp_path / "model.onnx"), LIMITS)


def test_a_function_that_the_model_defines_is_known(tmp_path: Path) -> None:
    model = one_op(helper.make_node("Twice", ["x"], ["y"], domain="mine"))
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 18)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert inspect_graph(save(model, tmp_path / "model.onnx"), LIMITS).outputs[0].name == "y"


@pytest.mark.parametrize("foldable", [True, False])
def test_a_tiny_graph_that_asks_for_terabytes_harms_nobody(tmp_path: Path, foldable: bool) -> None:
    shape = numpy_helper.from_array(np.array([1 << 20, 1 << 20], np.int64), "shape")
    fill = helper.make_node("ConstantOfShape", ["shape"], ["huge"])
    graph = helper.make_graph(
        [
            fill,
            helper.make_node("ReduceSum", ["huge"], ["sum"], keepdims=0),
            helper.make_node("Add", ["x", "sum"], ["y"]),
        ]
        if foldable
        else [
            helper.make_node("Expand", ["x", "shape"], ["huge"]),
            helper.make_node("ReduceSum", ["huge"], ["y"], keepdims=1),
        ],
        "huge",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 1])],
        [shape],
    )
    path = save(finish(graph), tmp_path / "model.onnx")
    assert path.stat().st_size < 1000
    with pytest.raises(InvalidInput):
        inspect_graph(path, LIMITS)


def test_a_graph_that_never_ends_is_cut_off(tmp_path: Path) -> None:
    iterations = numpy_helper.from_array(np.array(1 << 60, np.int64), "n")
    true = numpy_helper.from_array(np.array(True), "go")
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Sin", ["v"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, ["batch", 1]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, ["batch", 1]),
        ],
    )
    model = one_op(helper.make_node("Loop", ["n", "go", "x"], ["y"], body=body), initializers=(iterations, true))
    with pytest.raises(TooLarge):
        inspect_graph(save(model, tmp_path / "model.onnx"), Limits(seconds=4))


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x08\x09\x12garbage", b"not protobuf at all", b"\x08\x09" * 1000])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(InvalidInput):
        inspect_graph(tmp_path / "model.onnx", LIMITS)


def test_a_truncated_model_is_refused(tmp_path: Path) -> None:
    whole = classifier().SerializeToString()
    (tmp_path / "model.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidInput):
        inspect_graph(tmp_path / "model.onnx", LIMITS)


def test_sequences_of_maps_are_refused_with_the_way_out(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("ZipMap", ["x"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0])],
        "zipmap",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1])],
        [
            helper.make_value_info(
                "y",
                helper.make_sequence_type_proto(
                    helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
                ),
            )
        ],
    )
    with pytest.raises(InvalidInput, match="zipmap=False"):
        inspect_graph(save(finish(graph), tmp_path / "model.onnx"), LIMITS)


class TestSignature:
    """Inferring a signature, and holding a given one against the graph."""

    interface = GraphInterface(
        (GraphValue("duration", "float32", (None, 1)), GraphValue("image", "uint8", (None, 8, 8))),
        (GraphValue("probabilities", "float32", (None, 3)), GraphValue("label", "int64", (None,))),
    )

    def test_inferred(self) -> None:
        signature = infer_signature(self.interface)
        assert [(f.name, f.dtype, f.shape) for f in signature.inputs] == [
            ("duration", DType.FLOAT32, ()),
            ("image", DType.UINT8, (8, 8)),
        ]
        assert [output.role for output in signature.outputs] == [OutputRole.PROBABILITIES, OutputRole.LABEL]
        assert signature.classes == ("0", "1", "2")

    def test_inferred_with_classes(self) -> None:
        assert infer_signature(self.interface, ["a", "b", "c"]).classes == ("a", "b", "c")
        with pytest.raises(InvalidInput, match="2 classes"):
            infer_signature(self.interface, ["a", "b"])

    def test_a_regression_has_a_value(self) -> None:
        signature = infer_signature(
            GraphInterface((GraphValue("x", "float32", (None,)),), (GraphValue("y", "float32", (None, 1)),))
        )
        assert (signature.outputs[0].role, signature.outputs[0].shape, signature.classes) == (
            OutputRole.VALUE,
            (),
            None,
        )

    @pytest.mark.parametrize("dims", [(), (1, 20), (None, None), (None, 0)])
    def test_only_the_batch_axis_is_free(self, dims: tuple[int | None, ...]) -> None:
        with pytest.raises(InvalidInput, match="axis"):
            infer_signature(GraphInterface((GraphValue("x", "float32", dims),), self.interface.outputs))

    @pytest.mark.parametrize("dtype", ["complex64", "bfloat16", "undefined"])
    def test_unknown_dtypes(self, dtype: str) -> None:
        with pytest.raises(InvalidInput, match="not served"):
            infer_signature(GraphInterface((GraphValue("x", dtype, (None, 1)),), self.interface.outputs))

    def signature(self, *inputs: Feature) -> Signature:
        return Signature(
            inputs=inputs,
            outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
            classes=("a", "b", "c"),
        )

    def test_a_fitting_signature_may_say_more_than_the_graph(self) -> None:
        check_signature(
            self.signature(
                Feature(name="image", dtype=DType.UINT8, shape=(8, 8)),
                Feature(name="duration", dtype=DType.FLOAT32, nullable=True, minimum=0),
            ),
            self.interface,
        )

    @pytest.mark.parametrize(
        ("inputs", "says"),
        [
            ((Feature(name="duration", dtype=DType.FLOAT32),), "'image' is not in the signature"),
            ((Feature(name="length", dtype=DType.FLOAT32),), "'length' is not in the graph"),
            ((Feature(name="duration", dtype=DType.FLOAT64),), "'duration' is float32"),
            ((Feature(name="image", dtype=DType.UINT8, shape=(8, 9)),), "'image' is"),
        ],
    )
    def test_differences_are_named(self, inputs: tuple[Feature, ...], says: str) -> None:
        with pytest.raises(InvalidInput, match=says):
            check_signature(self.signature(*inputs), self.interface)
