"""Two converters' graphs, one behind the other: preparation in float64, then the model on the matrix that comes of it.

Trees compare with thresholds that are values of the training rows, after a preparation that scikit-learn computed in
float64. Prepared in float32, a row can fall on the other side; so the preparation stays in float64 and is rounded
once, where scikit-learn's trees and XGBoost's round too, or (LightGBM, histogram gradient boosting) never.
"""

from typing import Any

from schemas.features import DType
from trimtab.conversion.graph_names import number, real_inputs, rename
from trimtab.conversion.joining import IR_VERSION, opset_versions

PREPARATION, FINAL, BETWEEN = "preparation/", "final/", "between"


def chained(preparation: Any, final: Any, dtype: DType) -> Any:
    """The ModelProto that takes the inputs of `preparation`, whose output is the one input, of `dtype`, of `final`."""
    import onnx
    from onnx import TensorProto, helper

    first, second = onnx.GraphProto(), onnx.GraphProto()
    first.CopyFrom(preparation.graph)
    second.CopyFrom(final.graph)
    number(first, PREPARATION)
    number(second, FINAL)
    (fed,) = real_inputs(second)
    rename(second, {fed.name: BETWEEN})
    element = TensorProto.DOUBLE if dtype is DType.FLOAT64 else TensorProto.FLOAT
    rounded = helper.make_node("Cast", [first.output[0].name], [BETWEEN], name=BETWEEN, to=element)
    whole = helper.make_graph(
        [*first.node, rounded, *second.node],
        "chained",
        list(real_inputs(first)),
        list(second.output),
        [*first.initializer, *second.initializer],
        sparse_initializer=[*first.sparse_initializer, *second.sparse_initializer],
    )
    versions = opset_versions(preparation, final)
    opsets = [helper.make_opsetid(domain, versions[domain]) for domain in sorted(versions)]
    functions = [*preparation.functions, *final.functions]
    return helper.make_model(whole, opset_imports=opsets, functions=functions, ir_version=IR_VERSION)
