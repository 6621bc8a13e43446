"""From the files of a version and what the sender says about them to a checked manifest."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pydantic import Field, FiniteFloat, ValidationError, field_validator, model_validator

from schemas.base import JsonValue, Name, StrictDocument, UtcTime, Version
from schemas.features import Signature
from schemas.manifest import (
    MODEL_NAME,
    SAVED_MODEL_FILE,
    SAVED_MODEL_NAME,
    Lineage,
    Manifest,
    ManifestFile,
    content_digest,
    model_files,
)
from services.kernel.content import check_content
from services.kernel.errors import InvalidInput
from services.registry.arrivals.incoming import Received
from services.registry.labels import MAX_METRICS, LabelName, Tags, Text
from services.registry.untrusted.inspection import GraphInterface, check_signature, infer_signature
from services.registry.untrusted.inspections import Inspector
from services.registry.words import Words

MAX_DIGEST = 256
"""Characters of a dataset's digest."""


class Submission(StrictDocument):
    """The `metadata` of `POST /mlops/models`. `model_id` defaults to `model_type`.

    Without `version` one is allotted; without `signature` it is read from the graph, its classes called `classes`.
    Without `framework` it is `onnx`, or `tensorflow` for a SavedModel.
    """

    model_id: Name
    version: Version | None = None
    model_name: Words = Field(default="", max_length=200)
    model_type: Words = Field(default="", max_length=128)
    framework: Words = Field(default="", max_length=64)
    metrics: dict[LabelName, FiniteFloat] = Field(default={}, max_length=MAX_METRICS)
    hyperparameters: dict[str, JsonValue] = {}
    description: Text = ""
    changes: Text = ""
    tags: Tags = {}
    signature: Signature | None = None
    classes: tuple[str, ...] | None = None
    lineage: Lineage = Lineage()
    created_at: UtcTime | None = None

    @field_validator("lineage")
    @classmethod
    def _dataset_digest_is_one(cls, lineage: Lineage) -> Lineage:
        digest = lineage.dataset_digest or ""
        if len(digest) > MAX_DIGEST or "\0" in digest:
            raise ValueError(f"dataset_digest: at most {MAX_DIGEST} characters, without NUL")
        return lineage

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


def named(files: Iterable[Received]) -> list[Received]:
    """The files under their names in the version: a single graph is its `model.onnx`, whatever its name."""
    found = list(files)
    graphs = [at for at, file in enumerate(found) if "/" not in file.name and file.name.lower().endswith(".onnx")]
    if len(graphs) == 1:
        found[graphs[0]] = replace(found[graphs[0]], name=MODEL_NAME, sent_name=found[graphs[0]].name)
    if any(file.name.startswith(f"{MODEL_NAME}/") for file in found):
        raise InvalidInput(f"{MODEL_NAME} is the version's model, not a folder")
    names = {file.name for file in found}
    if MODEL_NAME in names and any(SAVED_MODEL_FILE.fullmatch(name) for name in names):
        raise InvalidInput(f"a version has one model: send {MODEL_NAME} or a SavedModel, not both")
    if not model_files(names):
        raise InvalidInput(f"the version's model is missing: send one ONNX file, or name it {MODEL_NAME}")
    return found


async def checked_manifest(
    files: Sequence[Received], submission: Submission, inspector: Inspector, known: GraphInterface | None = None
) -> Manifest:
    """The manifest of `files`, once each is what its name says and every graph and Keras archive may be kept.

    With `known`, the interface of a model that has passed before, its files themselves need not be at hand. Raises
    `InvalidInput` (a file must not be kept, or the signature does not fit the graph), `UnsupportedMedia`, `TooLarge`.
    """
    model = model_files(file.name for file in files)
    for file in files:
        if known is None or file.name not in model:
            if not file.size and file.name == MODEL_NAME:
                raise InvalidInput(f"{file.sent_as} is empty: send an ONNX file")
            await asyncio.to_thread(check_content, file.path, file.sent_as)
    interface = await inspector.version(((file.name, file.path, file.sha256) for file in files), known)
    return manifest_of(files, submission, interface)


def manifest_of(files: Sequence[Received], submission: Submission, interface: GraphInterface) -> Manifest:
    """The manifest of `files`, whose model has this interface. Raises `InvalidInput`: the signature differs."""
    signature = submission.signature
    if signature is None:
        signature = infer_signature(interface, submission.classes)
    else:
        check_signature(signature, interface)
    model = model_files(file.name for file in files)
    kept = tuple(
        ManifestFile(path=file.name, size=file.size, sha256=file.sha256, is_model=file.name in model)
        for file in sorted(files, key=lambda file: file.name)
    )
    return Manifest(
        model_id=submission.model_id,
        model_type=submission.model_type,
        model_name=submission.model_name,
        framework=submission.framework or ("tensorflow" if SAVED_MODEL_NAME in model else "onnx"),
        files=kept,
        content_digest=content_digest(kept),
        signature=signature,
        metrics=submission.metrics,
        hyperparameters=submission.hyperparameters,
        lineage=submission.lineage,
        created_at=submission.created_at or datetime.now(UTC),
        description=submission.description,
        changes=submission.changes,
        tags=submission.tags,
    )
