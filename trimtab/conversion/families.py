"""Which library a model object comes from: told by its class's module, without importing any."""

from collections.abc import Sequence
from typing import Any

from trimtab.conversion.errors import NotConvertible
from trimtab.conversion.subject import Subject


def subject_of(model: Any, classes: Sequence[Any] | None) -> Subject:
    """`model` as the conversion sees it. Raises `NotConvertible` for what it can't take, saying what to do instead."""
    if isinstance(model, bytes | bytearray | memoryview) or hasattr(model, "read"):
        raise NotConvertible(
            "bytes are no model: a pickle runs code when it is read and is never taken. Give the fitted model itself, "
            "or the path of an ONNX file"
        )
    if isinstance(model, type):
        raise NotConvertible(f"{model.__name__} is a class: give a fitted model")
    roots = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(model).__mro__}
    packages = {package for package, _ in roots}
    if "keras" in packages:
        from trimtab.conversion.keras import KerasModel

        return KerasModel(model, classes)
    if ("xgboost", "Booster") in roots:
        from trimtab.conversion.boosters import XgboostBooster

        return XgboostBooster(model, classes)
    if ("lightgbm", "Booster") in roots:
        from trimtab.conversion.boosters import LightgbmBooster

        return LightgbmBooster(model, classes)
    if packages & {"sklearn", "xgboost", "lightgbm"} and hasattr(model, "predict"):
        from trimtab.conversion.sklearn import SklearnModel

        return SklearnModel(model, classes)
    raise NotConvertible(
        f"a {type(model).__module__}.{type(model).__name__} can't be converted here: {_advice(packages)}"
    )


def _advice(packages: set[str]) -> str:
    if "torch" in packages:
        return "export it with torch.onnx.export(..., dynamic_axes=...) and register the file"
    if "onnx" in packages:
        return "save it with onnx.save_model and register the file"
    if "tensorflow" in packages:
        return "save it with tf.saved_model.save(model, folder) and register the folder, or give the Keras model"
    return (
        "models of scikit-learn, XGBoost, LightGBM and Keras are; of others give the path of an ONNX file that takes "
        "one input a feature"
    )
