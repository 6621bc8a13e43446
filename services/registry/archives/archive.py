"""One version as a tar archive, to move it between registries: what is in it, how it is written and how it is read.

```
record.json                    where it comes from: version, stage and how it got there, annotations, aliases, signers
model/manifest.json            byte by byte what the manifest digest covers
model/<path>                   the files that the manifest names, in its order
model.sig                      the newest signature, if there is one
signatures/<key_sha256>.sig    every signature, by the key that made it
```

The same version in the same state is the same archive, byte by byte. Unpacked, its folder `model` is what
`model_signing verify key model --signature model.sig --public_key KEY` takes.

Writing needs memory for two blocks; so does reading, `services.registry.archives.archive_reader`.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Final, Literal

from pydantic import Field

from schemas.base import Document, Name, UtcTime, Version
from schemas.events import Stage
from schemas.manifest import MANIFEST_NAME, Manifest, ManifestFile
from services.kernel.artifacts import open_file, stat_file
from services.kernel.errors import IntegrityFailed
from services.kernel.storage import ArtifactStore
from services.registry.labels import Tags, Text
from services.registry.words import Words

FORMAT: Final = "trimtab-version"
FORMAT_VERSION = 1
RECORD_NAME, MODEL_FOLDER, SIGNATURE_NAME, SIGNATURES_FOLDER = "record.json", "model/", "model.sig", "signatures/"
MAX_RECORD_BYTES = 32 << 20
MAX_MOVES = 1_000
"""Stage moves of one version in an archive: the newest."""
MAX_SIGNATURES = 100
BLOCK_BYTES = 1 << 20

_SIGNATURE = r"^[0-9a-f]{64}$"


class MoveRecord(Document):
    """One stage move of the version, where it comes from."""

    from_stage: Stage | None
    to_stage: Stage
    at: UtcTime
    actor: Words = Field(max_length=1000)
    comment: Words = Field(max_length=10_000)
    replaced_version: Version | None = None


class SignatureRecord(Document):
    """A signature in the archive, and whose it is."""

    key_sha256: str = Field(pattern=_SIGNATURE)
    signer: Words = Field(max_length=1000)
    signed_at: UtcTime


class VersionRecord(Document):
    """`record.json`: what a registry knows of a version beside its files. `history` is oldest first."""

    format: Literal["trimtab-version"] = FORMAT
    format_version: int = FORMAT_VERSION
    model_id: Name
    version: Version
    manifest_digest: str = Field(pattern=_SIGNATURE)
    content_digest: str = Field(pattern=_SIGNATURE)
    size_bytes: int = Field(ge=0)
    registered_at: UtcTime
    registered_by: Words = Field(max_length=1000)
    parent_version: Version | None = None
    stage: Stage
    stage_since: UtcTime
    description: Text = ""
    changes: Text = ""
    tags: Tags = {}
    aliases: tuple[Name, ...] = Field(default=(), max_length=1000)
    history: tuple[MoveRecord, ...] = Field(default=(), max_length=MAX_MOVES)
    signatures: tuple[SignatureRecord, ...] = Field(default=(), max_length=MAX_SIGNATURES)

    @property
    def origin(self) -> str:
        """What becomes of the stages that it had elsewhere, in words: a comment in the history here."""
        since = self.stage_since.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return f"imported; was {self.stage.value} since {since}"


@dataclass(frozen=True)
class Outgoing:
    """A version that is written as an archive. `signatures` are (key_sha256, bundle), the newest last."""

    record: VersionRecord
    manifest: Manifest
    manifest_bytes: bytes
    artifact: str
    signatures: Sequence[tuple[str, bytes]] = ()

    @property
    def size_bytes(self) -> int:
        """Length of the archive."""
        heads = sum(len(self._header(name, size)) + _padded(size) for name, size in self._members())
        return heads + 2 * tarfile.BLOCKSIZE

    def check(self, store: ArtifactStore) -> None:
        """Raise `IntegrityFailed` unless every file is in the store with its size. Blocking; reads no bytes."""
        for file in self.manifest.files:
            if stat_file(store, self.artifact, file).size != file.size:
                raise IntegrityFailed(_damaged(self.artifact, file))

    def blocks(self, store: ArtifactStore) -> Iterator[bytes]:
        """The archive, block by block. Blocking. Raises `IntegrityFailed` when a stored file is not what it was."""
        parts = {RECORD_NAME: self._record_bytes, MODEL_FOLDER + MANIFEST_NAME: self.manifest_bytes}
        parts.update(self._signatures())
        files = {MODEL_FOLDER + file.path: file for file in self.manifest.files}
        for name, size in self._members():
            yield self._header(name, size)
            if name in files:
                yield from _verified(store, self.artifact, files[name])
            else:
                yield parts[name]
            if size % tarfile.BLOCKSIZE:
                yield bytes(-size % tarfile.BLOCKSIZE)
        yield bytes(2 * tarfile.BLOCKSIZE)

    @property
    def _record_bytes(self) -> bytes:
        return self.record.model_dump_json(indent=1).encode() + b"\n"

    def _signatures(self) -> list[tuple[str, bytes]]:
        if not self.signatures:
            return []
        each = [(f"{SIGNATURES_FOLDER}{key}.sig", bundle) for key, bundle in self.signatures]
        return [(SIGNATURE_NAME, self.signatures[-1][1]), *sorted(each)]

    def _members(self) -> Iterator[tuple[str, int]]:
        yield RECORD_NAME, len(self._record_bytes)
        yield MODEL_FOLDER + MANIFEST_NAME, len(self.manifest_bytes)
        yield from ((MODEL_FOLDER + file.path, file.size) for file in self.manifest.files)
        yield from ((name, len(bundle)) for name, bundle in self._signatures())

    def _header(self, name: str, size: int) -> bytes:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = size, int(self.record.registered_at.timestamp()), 0o644
        return member.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return size + -size % tarfile.BLOCKSIZE


def _damaged(artifact: str, file: ManifestFile) -> str:
    return f"{artifact}/{file.path} is not what it was: `trimtab models verify` says more"


def _verified(store: ArtifactStore, artifact: str, file: ManifestFile) -> Iterator[bytes]:
    """A stored file's bytes; the last ones only when all of them have the digest."""
    digest, left, held = hashlib.sha256(), file.size, b""
    with open_file(store, artifact, file) as source:
        while left and (block := source.read(min(BLOCK_BYTES, left))):
            digest.update(block)
            left -= len(block)
            if held:
                yield held
            held = block
        if left or source.read(1) or digest.hexdigest() != file.sha256:
            raise IntegrityFailed(_damaged(artifact, file))
    if held:
        yield held
