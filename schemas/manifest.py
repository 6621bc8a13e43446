"""The manifest of a model version: every file with its digest, and the record of where the model came from.

A version is a directory: `manifest.json`, `model.onnx`, `baseline.json`, `baseline.parquet` and whatever else belongs
to it; in place of `model.onnx` there may be a TensorFlow SavedModel (`saved_model.pb`, `variables/`). Two digests:
`content_digest` covers the model files alone, so the same job twice gives the same one; `manifest_digest` is the
SHA-256 of the canonical `manifest.json`, hence of the whole record. Both are checked at every load.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Self

from pydantic import Field, ValidationError, field_validator

from schemas.base import Document, JsonValue, Measured, Name, UtcTime, Version
from schemas.features import Signature

MANIFEST_NAME = "manifest.json"
MODEL_NAME = "model.onnx"
SAVED_MODEL_NAME = "saved_model.pb"
SAVED_MODEL_FILE = re.compile(r"saved_model\.pb|fingerprint\.pb|variables/variables\.(index|data-[0-9]{5}-of-[0-9]{5})")
"""The files of a TensorFlow SavedModel by their names in a version."""
BASELINE_NAME = "baseline.json"
BASELINE_SAMPLE_NAME = "baseline.parquet"


class BadManifest(ValueError):
    """The bytes are not a manifest, or it contradicts itself."""


class ManifestFile(Document):
    """One file of the version; `path` is relative, with forward slashes. `is_model` files make the content digest."""

    path: str = Field(min_length=1, max_length=512)
    size: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    is_model: bool = False

    @field_validator("path")
    @classmethod
    def _stays_inside(cls, path: str) -> str:
        parts = PurePosixPath(path).parts
        plain = "/".join(parts) == path  # also refuses ".", "a//b", "a/" and whatever else has a second spelling
        if not plain or path.startswith("/") or "\\" in path or "\0" in path or ".." in parts:
            raise ValueError("must be a plain relative path inside the version's directory")
        return path


class Lineage(Document):
    """Where a version came from."""

    job_id: Name | None = None
    dataset_digest: str | None = None
    experiment_id: Name | None = None
    trial: int | None = None
    parent_version: Version | None = None
    cycle_id: str | None = None


class Manifest(Document):
    """The record of one version, version number excluded (the registry allots that)."""

    model_id: Name
    model_type: str = ""
    model_name: str = ""
    framework: str
    files: tuple[ManifestFile, ...] = Field(min_length=1)
    content_digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    signature: Signature
    metrics: dict[str, Measured] = {}
    hyperparameters: dict[str, JsonValue] = {}
    lineage: Lineage = Lineage()
    created_at: UtcTime
    description: str = ""
    changes: str = ""
    tags: dict[str, str] = {}

    def to_bytes(self) -> bytes:
        """The canonical JSON that `manifest_digest` is computed over. What is not finite is null."""
        return json.dumps(json.loads(self.model_dump_json()), sort_keys=True, separators=(",", ":")).encode()

    @property
    def manifest_digest(self) -> str:
        """SHA-256 (hex) of `to_bytes()`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Parse `manifest.json` and check its numbers, and its content digest against its own file list.

        Raises `BadManifest`.
        """
        try:
            manifest = cls.model_validate_json(data)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise BadManifest(f"the manifest is not valid: {problems}") from error
        json.loads(data, parse_float=_finite, parse_constant=_finite)
        if content_digest(manifest.files) != manifest.content_digest:
            raise BadManifest("the manifest's content digest does not fit its list of model files")
        return manifest


def _finite(text: str) -> float:
    """A number of a manifest; not `1e999`, which is read as infinity, and can be told in no answer."""
    number = float(text)
    if not math.isfinite(number):
        raise BadManifest(f"the manifest holds {text[:40]}, which is no number that JSON can tell again")
    return number


def model_files(names: Iterable[str]) -> frozenset[str]:
    """Which of a version's files are its model: `model.onnx`, or else all files of its SavedModel; empty without one.

    >>> sorted(model_files(["baseline.json", "saved_model.pb", "variables/variables.index"]))
    ['saved_model.pb', 'variables/variables.index']
    """
    found = set(names)
    if MODEL_NAME in found:
        return frozenset((MODEL_NAME,))
    if SAVED_MODEL_NAME not in found:
        return frozenset()
    return frozenset(name for name in found if SAVED_MODEL_FILE.fullmatch(name))


def has_whole_model(manifest: Manifest) -> bool:
    """Whether the manifest has a model, and marks all of its files as such."""
    names = model_files(file.path for file in manifest.files)
    return bool(names) and names <= {file.path for file in manifest.files if file.is_model}


def content_digest(files: Iterable[ManifestFile]) -> str:
    """SHA-256 (hex) over the sorted `sha256 path` lines of the model files."""
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files if file.is_model)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
