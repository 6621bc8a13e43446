"""The folder of a bundle, with every digest checked before anything is answered.

`bundle.json` names the version and the digest of `manifest.json`; the manifest holds the graph's digest and the
signature. The graph's bytes are read once: what was checked is what is run.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import IntegrityFailed
from .signature import Signature, read_signature

BUNDLE_NAME, MANIFEST_NAME = "bundle.json", "manifest.json"
FORMAT, FORMAT_VERSION = "trimtab-edge", 1


@dataclass(frozen=True)
class Bundle:
    """What the folder holds. `graph` are the bytes of the ONNX graph."""

    model_id: str
    version: str
    manifest_digest: str
    signature_digest: str
    signature: Signature
    graph: bytes


def open_bundle(folder: Path) -> Bundle:
    """Read and check a bundle. Raises `IntegrityFailed` naming the file that is not what it was."""
    about = _json(_bytes(folder / BUNDLE_NAME), BUNDLE_NAME)
    if about.get("format") != FORMAT or not isinstance(about.get("format_version"), int):
        raise IntegrityFailed(f"{folder / BUNDLE_NAME} is not the record of an edge bundle")
    if about["format_version"] > FORMAT_VERSION:
        raise IntegrityFailed(f"the bundle has format {about['format_version']}; this runner reads {FORMAT_VERSION}")
    data = _bytes(folder / MANIFEST_NAME)
    _check(data, about.get("manifest_digest"), MANIFEST_NAME)
    manifest = _json(data, MANIFEST_NAME)
    try:
        file = next(each for each in manifest["files"] if each["path"] == about["graph"])
        name, size, sha256 = str(file["path"]), int(file["size"]), str(file["sha256"])
        model_id, version, signature_digest = str(manifest["model_id"]), about["version"], about["signature_digest"]
    except (KeyError, TypeError, StopIteration) as error:
        raise IntegrityFailed(f"{BUNDLE_NAME} and {MANIFEST_NAME} do not fit each other: {error!r}") from error
    if "/" in name or model_id != about.get("model_id"):
        raise IntegrityFailed(f"{BUNDLE_NAME} and {MANIFEST_NAME} do not fit each other")
    signature = manifest.get("signature")
    _check(canonical(signature), signature_digest, "the signature")
    graph = _bytes(folder / name)
    if len(graph) != size:
        raise IntegrityFailed(f"{name} has {len(graph)} bytes, and {size} in the manifest")
    _check(graph, sha256, name)
    return Bundle(model_id, str(version), about["manifest_digest"], signature_digest, read_signature(signature), graph)


def canonical(document: Any) -> bytes:
    """The JSON that a document's digest is computed over."""
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IntegrityFailed(f"{path} can't be read: {error.strerror or error}") from error


def _json(data: bytes, name: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise IntegrityFailed(f"{name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise IntegrityFailed(f"{name} is not an object")
    return document


def _check(data: bytes, sha256: object, name: str) -> None:
    if hashlib.sha256(data).hexdigest() != sha256:
        raise IntegrityFailed(f"{name} does not have the digest that the bundle gives: it was changed or damaged")
