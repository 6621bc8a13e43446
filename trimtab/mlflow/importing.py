"""From what MLflow keeps to a folder and metadata that the registry takes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

from schemas.features import Signature
from schemas.manifest import MODEL_NAME
from services.kernel.errors import NotFound, Unavailable
from services.registry.untrusted.inspection import Limits, infer_signature, inspect_graph
from trimtab.mlflow import graph
from trimtab.mlflow.budget import Budget
from trimtab.mlflow.files import FolderFiles, ModelFiles, checked_name
from trimtab.mlflow.flavours import fetch_keras, fetch_onnx, flavour_of
from trimtab.mlflow.keras_model import convert_keras
from trimtab.mlflow.locating import locate, origin_of_folder
from trimtab.mlflow.mlmodel import MAX_MLMODEL_BYTES, MLmodel, read_mlmodel
from trimtab.mlflow.record import Origin, metadata_of
from trimtab.mlflow.source import MLMODEL, Folder, Source, parse_source
from trimtab.mlflow.tracking import Tracking

Json = dict[str, Any]

_JOINED = ("metrics", "hyperparameters", "tags")


@dataclass(frozen=True)
class Imported:
    """A version's folder, and the metadata to register it with."""

    folder: Path
    metadata: Json


@contextmanager
def imported(
    source: str, *, tracking_uri: str | None = None, metadata: Mapping[str, Any] | None = None
) -> Iterator[Imported]:
    """What `source` names (see `trimtab.mlflow.source`), fetched and converted; the folder is removed afterwards.

    `metadata` goes before what MLflow says; metrics, hyper-parameters and tags are joined. Raises `NotFound`,
    `UnsupportedMedia` for a flavour that is never read, `InvalidInput`, `TooLarge`, and `Unavailable` when no server
    answers. Blocking.
    """
    with ExitStack() as stack:
        work = Path(stack.enter_context(TemporaryDirectory(prefix="trimtab-mlflow-")))
        try:
            ready = _ready(source, tracking_uri, metadata or {}, work, stack)
        except OSError as error:
            raise Unavailable(f"{source} cannot be read, or its copy not written ({error})") from error
        yield ready


def _ready(source: str, tracking_uri: str | None, given: Mapping[str, Any], work: Path, stack: ExitStack) -> Imported:
    files, origin = _found(parse_source(source), tracking_uri, stack)
    mlmodel = _mlmodel(files, work)
    if origin is None:
        origin = Origin()
        if tracking_uri:
            tracking = stack.enter_context(Tracking(tracking_uri))
            origin = origin_of_folder(tracking, mlmodel.model_id, mlmodel.run_id)
    flavour = flavour_of(mlmodel)
    folder = work / "version"
    folder.mkdir()
    if flavour == "onnx":
        made = _from_onnx(mlmodel, files, work, folder)
    else:
        made = _from_keras(mlmodel, files, work, folder, given.get("classes"))
    return Imported(folder, _merged(metadata_of(origin, mlmodel, flavour), made, given))


def _found(source: Source, tracking_uri: str | None, stack: ExitStack) -> tuple[ModelFiles, Origin | None]:
    if isinstance(source, Folder):
        return FolderFiles(source.path, Budget()), None
    return locate(stack.enter_context(Tracking(tracking_uri)), source, Budget())


def _mlmodel(files: ModelFiles, work: Path) -> MLmodel:
    path = work / MLMODEL
    try:
        files.fetch(MLMODEL, path)
    except NotFound as error:
        raise NotFound(f"there is no {MLMODEL} file, so no model of MLflow's: {error.detail}") from error
    with path.open("rb") as file:
        return read_mlmodel(file.read(MAX_MLMODEL_BYTES + 1))


def _from_onnx(mlmodel: MLmodel, files: ModelFiles, work: Path, folder: Path) -> Json:
    """Write `model.onnx` into `folder`; what its graph adds to the metadata."""
    target = fetch_onnx(mlmodel, files, folder)
    parent = PurePosixPath(str(mlmodel.flavors["onnx"]["data"])).parent
    beside: dict[str, Path] = {}

    def fetch(location: str) -> Path:
        if location not in beside:
            path = work / f"beside-{len(beside)}"
            files.fetch(str(parent / checked_name(location)), path)
            beside[location] = path
        return beside[location]

    model = graph.read_graph(target)
    changed = graph.embed(model, fetch)
    classes = graph.without_mappings(model)
    joined = graph.join_columns(model, mlmodel.columns)
    if changed or classes is not None or joined:
        graph.write_graph(model, target)
    made: Json = {"classes": list(classes)} if classes else {}
    optional = {column.name for column in mlmodel.columns if not column.required}
    if joined and optional:
        made["signature"] = _nullable(infer_signature(inspect_graph(target, Limits()), classes), optional)
    return made


def _from_keras(mlmodel: MLmodel, files: ModelFiles, work: Path, folder: Path, classes: Sequence[str] | None) -> Json:
    """Write `model.onnx` into `folder`; what the model adds to the metadata."""
    source = fetch_keras(mlmodel, files, work)
    names = convert_keras(source, folder / MODEL_NAME, [column.name for column in mlmodel.columns], classes)
    return {"classes": list(names)} if names else {}


def _nullable(signature: Signature, optional: set[str]) -> Json:
    """The signature with columns that may be missing, where a missing number can be NaN."""
    inputs = tuple(
        feature.model_copy(update={"nullable": feature.name in optional and feature.dtype.is_float})
        for feature in signature.inputs
    )
    return signature.model_copy(update={"inputs": inputs}).model_dump(mode="json")


def _merged(*parts: Mapping[str, Any]) -> Json:
    merged: Json = {}
    for part in parts:
        for name, value in part.items():
            joined = name in _JOINED and isinstance(value, Mapping)
            merged[name] = {**merged.get(name, {}), **value} if joined else value
    return merged
