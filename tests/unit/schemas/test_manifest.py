"""The manifest: paths that stay inside, digests that fit."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.manifest import BadManifest, Manifest, ManifestFile, content_digest
from tests.golden.samples import DIGEST, NOON, OTHER_DIGEST, SIGNATURE

FILES = (
    ManifestFile(path="model.onnx", size=10, sha256=DIGEST, is_model=True),
    ManifestFile(path="extra/notes.txt", size=3, sha256=OTHER_DIGEST),
)


def manifest(**changes: Any) -> Manifest:
    fields: dict[str, Any] = {
        "model_id": "m",
        "framework": "onnx",
        "files": FILES,
        "content_digest": content_digest(FILES),
        "signature": SIGNATURE,
        "created_at": NOON,
    }
    return Manifest(**(fields | changes))


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../model.onnx",
        "a/../../b",
        "a/..",
        "/etc/passwd",
        "//host/share",
        "a//b",
        "./a",
        "a/",
        "a/./b",
        ".",
        "",
        "a\\b",
        "..\\b",
        "a\0b",
        "x" * 513,
    ],
)
def test_a_path_that_leaves_the_directory_or_has_two_spellings_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="path"):
        ManifestFile(path=path, size=1, sha256=DIGEST)


@pytest.mark.parametrize("path", ["model.onnx", "variables/variables.data-00000-of-00001", "..data", "a..b/c", "ü.txt"])
def test_a_plain_relative_path_is_kept(path: str) -> None:
    assert ManifestFile(path=path, size=1, sha256=DIGEST).path == path


@pytest.mark.parametrize("sha256", ["", DIGEST[:-1], DIGEST.upper(), DIGEST + "0", "g" * 64])
def test_a_digest_is_64_lower_case_hex_digits(sha256: str) -> None:
    with pytest.raises(ValidationError, match="sha256"):
        ManifestFile(path="a", size=1, sha256=sha256)


def test_the_bytes_are_canonical_and_read_again() -> None:
    one = manifest(tags={"b": "2", "a": "1"})
    other = manifest(tags={"a": "1", "b": "2"})
    assert one.to_bytes() == other.to_bytes()
    assert Manifest.read(one.to_bytes()) == one
    assert one.manifest_digest == other.manifest_digest != manifest().manifest_digest


def test_the_content_digest_covers_the_model_files_alone() -> None:
    assert content_digest(FILES) == content_digest(reversed(FILES)) == content_digest(FILES[:1])
    assert content_digest(FILES) != content_digest([FILES[0].model_copy(update={"path": "other.onnx"})])
    assert content_digest(FILES) != content_digest([FILES[0].model_copy(update={"sha256": OTHER_DIGEST})])


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(BadManifest, match="content digest"):
        Manifest.read(manifest(content_digest=DIGEST).to_bytes())


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\xff", b"[" * 100_000, b'{"files": []}'])
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(BadManifest, match="not valid"):
        Manifest.read(data)


def test_a_metric_that_is_not_finite_does_not_spoil_the_manifest() -> None:
    data = manifest(metrics={"auc": float("nan")}).to_bytes()
    assert json.loads(data)["metrics"] == {"auc": None}
    assert repr(Manifest.read(data).metrics) == "{'auc': nan}"
    assert Manifest.read(data).to_bytes() == data
