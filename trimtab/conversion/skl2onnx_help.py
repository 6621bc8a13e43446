"""Where skl2onnx needs a hand: converters it lacks, and three of its own that fail on valid models.

Looked at with skl2onnx 1.20, onnxmltools 1.16, onnx 1.23, ONNX Runtime 1.32.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from schemas.features import DType
from trimtab.conversion.joining import ML_OPSET, OPSET
from trimtab.conversion.libraries import REFUSALS, need, quiet, refused

BOOSTING = {
    "xgboost": ("XGB", "onnxmltools.convert.xgboost.operator_converters.XGBoost"),
    "lightgbm": ("LGBM", "onnxmltools.convert.lightgbm.operator_converters.LightGbm"),
}
EXACT = frozenset({"nodes_values", "nodes_hitrates", "class_weights", "target_weights", "base_values"})
"""Attributes of a tree ensemble that ONNX has in float64 too."""
KINDS = ("Classifier", "Regressor", "RFClassifier", "RFRegressor")


def to_onnx(model: Any, inputs: Sequence[tuple[str, DType, int]]) -> Any:
    """The ModelProto of a fitted estimator over `inputs` (name, type, width). Raises `NotConvertible`."""
    skl2onnx = need("skl2onnx")
    types = need("skl2onnx.common.data_types")
    kinds = {
        DType.FLOAT32: types.FloatTensorType,
        DType.FLOAT64: types.DoubleTensorType,
        DType.INT64: types.Int64TensorType,
        DType.BOOL: types.BooleanTensorType,
        DType.STRING: types.StringTensorType,
    }
    with quiet():
        try:
            _register_boosting()
            graph = skl2onnx.convert_sklearn(
                model,
                initial_types=[(name, kinds[dtype]([None, width])) for name, dtype, width in inputs],
                target_opset={"": OPSET, "ai.onnx.ml": ML_OPSET},
                custom_conversion_functions=_own_conversions(),
            )
        except REFUSALS as error:
            raise refused(
                f"{type(model).__name__} can't be converted to ONNX (which estimators can: "
                "https://onnx.ai/sklearn-onnx/supported.html)",
                error,
            ) from error
    for node in graph.graph.node:
        if node.op_type == "OneHotEncoder":
            _take_unknown_categories(node)
    return graph


def _take_unknown_categories(node: Any) -> None:
    """A category that was not fitted becomes all zeros, as with `handle_unknown="ignore"`: a graph that ends in an
    error can't be served."""
    for attribute in node.attribute:
        if attribute.name == "zeros":
            attribute.i = 1


def _own_conversions() -> dict[Any, Any]:
    registration = need("skl2onnx.common._registration")
    ensemble = need("sklearn.ensemble")
    forest = need("skl2onnx.operator_converters.random_forest")
    imputer = need("sklearn.impute").SimpleImputer
    classifier = forest.convert_sklearn_random_forest_classifier
    regressor = forest.convert_sklearn_random_forest_regressor_converter
    own: dict[Any, Any] = {
        imputer: _imputer_in_float64(registration.get_converter("SklearnSimpleImputer")),
        ensemble.HistGradientBoostingClassifier: _with_exact_trees(classifier, op_version=3),
        ensemble.HistGradientBoostingRegressor: _with_exact_trees(regressor, op_version=3),
    }
    return own


def _imputer_in_float64(convert: Any) -> Any:
    """ONNX Runtime's Imputer knows no float64; IsNaN and Where do."""

    def convert_imputer(scope: Any, operator: Any, container: Any) -> None:
        fitted = operator.raw_operator
        types = need("skl2onnx.common.data_types")
        is_wide = all(isinstance(given.type, types.DoubleTensorType) for given in operator.inputs)
        is_nan = isinstance(fitted.missing_values, float) and np.isnan(fitted.missing_values)
        if not (is_wide and is_nan):
            convert(scope, operator, container)
            return
        element = need("onnx").TensorProto.DOUBLE
        concatenate = need("skl2onnx.operator_converters.common").concatenate_variables
        given = concatenate(scope, operator.inputs, container)
        means = scope.get_unique_variable_name("statistics")
        missing = scope.get_unique_variable_name("missing")
        container.add_initializer(means, element, [1, len(fitted.statistics_)], fitted.statistics_.astype(np.float64))
        container.add_node("IsNaN", [given], [missing], op_version=13)
        container.add_node("Where", [missing, means, given], [operator.outputs[0].full_name], op_version=9)

    return convert_imputer


def _with_exact_trees(convert: Any, **exactly: Any) -> Any:
    """`convert`, told `exactly`, whose trees compare in float64 where the input is float64.

    Its own are rounded to float32, and a value of the training rows, or one between two of them, may then be on the
    other side. Also, skl2onnx mixes booleans into lists of integers, which protobuf 7 refuses.
    """

    def convert_trees(scope: Any, operator: Any, container: Any) -> None:
        types = need("skl2onnx.common.data_types")
        is_wide = isinstance(operator.inputs[0].type, types.DoubleTensorType)
        convert(scope, operator, _Trees(container, is_wide), **(exactly if is_wide else {}))

    return convert_trees


class _Trees:
    """A container of nodes that mends the attributes of tree ensembles on their way in."""

    def __init__(self, container: Any, wide: bool) -> None:
        self._container = container
        self._wide = wide

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def add_node(self, operator: str, *arguments: Any, **attributes: Any) -> Any:
        """The container's own."""
        mended = {name: _whole(value) for name, value in attributes.items()}
        if self._wide and operator.startswith("TreeEnsemble"):
            helper, element = need("onnx").helper, need("onnx").TensorProto.DOUBLE
            for name in EXACT & mended.keys():
                values = np.asarray(mended.pop(name), np.float64).reshape(-1)
                mended[f"{name}_as_tensor"] = helper.make_tensor(name, element, [len(values)], values)
            mended["op_version"] = 3
        return self._container.add_node(operator, *arguments, **mended)


def _whole(value: Any) -> Any:
    mixed = isinstance(value, list) and any(isinstance(item, bool | np.bool_) for item in value)
    return [int(item) for item in value] if mixed else value


def _register_boosting() -> None:
    """Tell skl2onnx about the boosting libraries that the process has loaded."""
    for package, (prefix, module) in BOOSTING.items():
        if package not in sys.modules:
            continue
        shapes = need("skl2onnx.common.shape_calculator")
        convert = getattr(need(module), f"convert_{package}")
        for name in KINDS:
            kind = getattr(sys.modules[package], prefix + name, None)
            if kind is None:
                continue
            task = "classifier" if name.endswith("Classifier") else "regressor"
            options = {"zipmap": [True, False, "columns"], "nocl": [True, False], "raw_scores": [True, False]}
            need("skl2onnx").update_registered_converter(
                kind,
                f"Trimtab{prefix}{name}",
                getattr(shapes, f"calculate_linear_{task}_output_shapes"),
                _with_exact_trees(convert) if package == "lightgbm" else convert,
                options=options if task == "classifier" else None,
            )
