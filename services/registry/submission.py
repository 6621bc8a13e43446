"""From a folder of uploaded files and what the sender says about them to a checked manifest. Blocking."""

from pathlib import Path

from pydantic import Field, FiniteFloat, ValidationError, model_validator

from schemas.base import JsonValue, Name, StrictDocument, UtcTime, Version
from schemas.features import Signature
from schemas.manifest import MODEL_NAME, Lineage, Manifest
from services.kernel.artifacts import build_manifest, list_files, write_manifest
from services.kernel.content import check_content
from services.kernel.errors import InvalidInput
from services.registry.inspection import Limits, check_signature, infer_signature, inspect_graph
from services.registry.words import Words


class Submission(StrictDocument):
    """The `metadata` of `POST /mlops/models`. `model_id` defaults to `model_type`.

    Without `version` one is allotted; without `signature` it is read from the graph, its classes called `classes`.
    """

    model_id: Name
    version: Version | None = None
    model_name: Words = Field(default="", max_length=200)
    model_type: Words = Field(default="", max_length=128)
    framework: str = Field(default="onnx", max_length=64)
    metrics: dict[str, FiniteFloat] = {}
    hyperparameters: dict[str, JsonValue] = {}
    description: str = Field(default="", max_length=20_000)
    changes: str = Field(default="", max_length=20_000)
    tags: dict[str, str] = {}
    signature: Signature | None = None
    classes: tuple[str, ...] | None = None
    lineage: Lineage = Lineage()
    created_at: UtcTime | None = None

    @model_validator(mode="before")
    @classmethod
    def _model_id_defaults_to_its_type(cls, given: object) -> object:
        if isinstance(given, dict) and "model_id" not in given and "modelId" not in given:
            model_type = given.get("model_type", given.get("modelType"))
            return given if model_type is None else {**given, "model_id": model_type}
        return given


def read_submission(data: bytes) -> Submission:
    """Parse the metadata. Raises pydantic's `ValidationError`, which the HTTP layer answers field by field."""
    try:
        return Submission.model_validate_json(data)
    except ValidationError as error:
        if any(problem["type"] == "json_invalid" for problem in error.errors()):
            raise InvalidInput("the part `metadata` is not JSON") from error
        raise


def checked_manifest(directory: Path, submission: Submission, limits: Limits) -> tuple[Manifest, str]:
    """Check every file, open the graph in a capped child, write `manifest.json`: the manifest and its digest.

    A single `.onnx` file is renamed to `model.onnx`. Raises `InvalidInput`, `UnsupportedMedia` or `TooLarge`.
    """
    graphs = [path for path in directory.iterdir() if path.suffix.lower() == ".onnx"]
    if len(graphs) == 1 and graphs[0].name != MODEL_NAME:
        graphs[0].rename(directory / MODEL_NAME)
    for _, path in list_files(directory):
        check_content(path)
    if not (directory / MODEL_NAME).is_file():
        raise InvalidInput(f"the version's model is missing: send one ONNX file, or name it {MODEL_NAME}")
    interface = inspect_graph(directory / MODEL_NAME, limits)
    signature = submission.signature
    if signature is None:
        signature = infer_signature(interface, submission.classes)
    else:
        check_signature(signature, interface)
    manifest = build_manifest(
        directory,
        model_id=submission.model_id,
        framework=submission.framework,
        signature=signature,
        created_at=submission.created_at,
        model_type=submission.model_type,
        model_name=submission.model_name,
        metrics=submission.metrics,
        hyperparameters=submission.hyperparameters,
        lineage=submission.lineage,
        description=submission.description,
        changes=submission.changes,
        tags=submission.tags,
    )
    return manifest, write_manifest(directory, manifest)
