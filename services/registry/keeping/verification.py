"""Verification of what is kept: every byte of a version, its manifest, its signatures. Blocking; constant memory."""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa
from prometheus_client import Counter

from schemas.manifest import MANIFEST_NAME, Manifest, ManifestFile
from services.kernel import signatures as crypto
from services.kernel.artifacts import MAX_MANIFEST_BYTES, open_file
from services.kernel.errors import IntegrityFailed, NotFound, TooLarge
from services.kernel.storage import ArtifactStore

State = Literal["ok", "missing", "damaged", "dropped"]
SignatureState = Literal["valid", "revoked", "invalid", "unchecked"]

BLOCK = 1 << 20

DAMAGED = Counter("trimtab_registry_damaged_files_total", "Stored files that a verification found missing or damaged")


@dataclass(frozen=True)
class FileVerdict:
    """One file; `detail` says what is wrong with it."""

    path: str
    size: int
    state: State
    detail: str = ""


@dataclass(frozen=True)
class SignatureVerdict:
    """One signature."""

    signer: str
    key_sha256: str
    state: SignatureState
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """One version: `ok`, `bad`, or `dropped` (retention gave its bytes up). The manifest is the first of `files`."""

    state: Literal["ok", "bad", "dropped"]
    files: tuple[FileVerdict, ...]
    signatures: tuple[SignatureVerdict, ...]
    bytes_read: int


def verify(store: ArtifactStore, row: sa.Row[Any], signatures: Sequence[sa.Row[Any]]) -> Verdict:
    """Read and hash everything that the version's row names. O(bytes). Raises `Unavailable` when the store is away.

    `signatures` are the rows of `signing.signatures_of`. A signature whose key was revoked is reported and is no fault
    of the version.
    """
    record = Manifest.model_validate_json(row.manifest)
    if row.bytes_dropped_at is not None:
        files = tuple(FileVerdict(file.path, file.size, "dropped") for file in record.files)
        names = tuple(SignatureVerdict(each.name, each.key_sha256, "unchecked") for each in signatures)
        return Verdict("dropped", files, names, 0)
    manifest, data = _manifest(store, row)
    files = (manifest, *(_file(store, row.artifact, file) for file in record.files))
    signed = tuple(_signatures(data, signatures))
    bad = [file for file in files if file.state != "ok"]
    DAMAGED.inc(len(bad))
    good = not bad and all(each.state != "invalid" for each in signed)
    return Verdict("ok" if good else "bad", files, signed, sum(file.size for file in files if file.state == "ok"))


def _manifest(store: ArtifactStore, row: sa.Row[Any]) -> tuple[FileVerdict, bytes | None]:
    try:
        data = store.get_bytes(f"{row.artifact}/{MANIFEST_NAME}", max_bytes=MAX_MANIFEST_BYTES)
    except NotFound:
        return FileVerdict(MANIFEST_NAME, 0, "missing", "the store does not have it"), None
    except TooLarge as error:
        return FileVerdict(MANIFEST_NAME, 0, "damaged", error.detail), None
    if hashlib.sha256(data).hexdigest() != row.manifest_digest:
        return FileVerdict(MANIFEST_NAME, len(data), "damaged", "it does not have the digest of the record"), None
    return FileVerdict(MANIFEST_NAME, len(data), "ok"), data


def _file(store: ArtifactStore, artifact: str, file: ManifestFile) -> FileVerdict:
    digest, size = hashlib.sha256(), 0
    try:
        with open_file(store, artifact, file) as source:
            while block := source.read(BLOCK):
                size += len(block)
                if size > file.size:
                    return FileVerdict(file.path, file.size, "damaged", f"it has more than its {file.size} bytes")
                digest.update(block)
    except IntegrityFailed:
        return FileVerdict(file.path, file.size, "missing", "the store does not have it")
    if size < file.size:
        return FileVerdict(file.path, file.size, "damaged", f"it has {size} of its {file.size} bytes")
    if digest.hexdigest() != file.sha256:
        return FileVerdict(file.path, file.size, "damaged", f"its SHA-256 is {digest.hexdigest()}, not {file.sha256}")
    return FileVerdict(file.path, file.size, "ok")


def _signatures(manifest: bytes | None, rows: Iterable[sa.Row[Any]]) -> Iterable[SignatureVerdict]:
    for row in rows:
        if row.revoked_at is not None:
            yield SignatureVerdict(row.name, row.key_sha256, "revoked", "its key was revoked")
        elif manifest is None:
            yield SignatureVerdict(row.name, row.key_sha256, "unchecked", "the manifest that it signs is not there")
        else:
            try:
                crypto.check(row.bundle.encode(), manifest, row.public_key)
            except crypto.BadSignature as error:
                yield SignatureVerdict(row.name, row.key_sha256, "invalid", error.detail)
            else:
                yield SignatureVerdict(row.name, row.key_sha256, "valid")
