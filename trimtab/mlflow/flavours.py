"""Which file of a model becomes the graph, and why some never do."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.manifest import MODEL_NAME
from services.kernel.content import check_content
from services.kernel.errors import InvalidInput, UnsupportedMedia
from trimtab.mlflow.files import ModelFiles
from trimtab.mlflow.mlmodel import MLmodel

_HOW = (
    "load it where it was trained (mlflow.{flavor}.load_model) and register it from there, "
    "client.register_model(model, model_id=..., sample=rows), which makes ONNX of it"
)
_CODE = "reading such a file runs code that it brings"


def flavour_of(mlmodel: MLmodel) -> str:
    """`onnx` or `keras`. Raises `UnsupportedMedia` that says how to convert a model of another flavour."""
    if "onnx" in mlmodel.flavors:
        return "onnx"
    if "keras" in mlmodel.flavors or mlmodel.flavors.get("tensorflow", {}).get("model_type") == "keras":
        return "keras"
    raise UnsupportedMedia(refusal(mlmodel))


def refusal(mlmodel: MLmodel) -> str:
    """The sentence about a model whose flavour is never read."""
    flavor = next((name for name in sorted(mlmodel.flavors) if name != "python_function"), "pyfunc")
    options = mlmodel.flavors.get(flavor, {})
    if flavor == "sklearn":
        kept = str(options.get("serialization_format") or "pickle")[:40]
        return f"this is a scikit-learn model, kept as {kept}, and is not opened: {_CODE}. Instead, {_how(flavor)}"
    if flavor == "pyfunc":
        return (
            f"this is a Python function (MLflow's pyfunc) and is not opened: {_CODE}. Instead, register the model that "
            "it calls where it was trained: client.register_model(model, model_id=..., sample=rows)"
        )
    if flavor in ("pytorch", "transformers"):
        return (
            f"this is a model of the flavour {flavor} and is not opened: {_CODE}. Instead, export it where it was "
            "trained, torch.onnx.export(model, rows, 'model.onnx'), and register that file"
        )
    return f"this is a model of the flavour {flavor[:40]}, which is not read here. Instead, {_how(flavor[:40])}"


def fetch_onnx(mlmodel: MLmodel, files: ModelFiles, folder: Path) -> Path:
    """The ONNX flavour's file, in `folder`."""
    path = folder / MODEL_NAME
    files.fetch(_data(mlmodel.flavors["onnx"], "onnx"), path)
    check_content(path)
    return path


def fetch_keras(mlmodel: MLmodel, files: ModelFiles, folder: Path) -> Path:
    """The Keras 3 file of the flavours keras and tensorflow, in `folder`.

    Raises `UnsupportedMedia` for a model in another form, or one that needs pickled objects.
    """
    flavor = "keras" if "keras" in mlmodel.flavors else "tensorflow"
    data = _data(mlmodel.flavors[flavor], flavor)
    names = files.names(data)
    pickled = sorted(name for name in names if name.endswith(("pickle", ".pkl")))
    if pickled:
        raise UnsupportedMedia(
            f"this Keras model comes with custom objects in a pickle ({pickled[0][:80]}), which is never opened: "
            f"{_how(flavor)}"
        )
    if "model.keras" not in names:
        kept = ", ".join(sorted(names)[:5])[:200] or "nothing"
        raise UnsupportedMedia(
            f"this Keras model is not kept as a .keras file but as {kept}: log it with Keras 3 and "
            f"save_exported_model=False, or {_how(flavor)}"
        )
    path = folder / "model.keras"
    files.fetch(f"{data}/model.keras", path)
    check_content(path)
    return path


def _how(flavor: str) -> str:
    return _HOW.format(flavor=flavor)


def _data(options: Mapping[str, Any], flavor: str) -> str:
    data = options.get("data")
    if not isinstance(data, str):
        raise InvalidInput(f"the MLmodel file does not say where the flavour {flavor} keeps its data")
    return data
