"""Reading a version's archive that comes from anywhere, see `services.registry.archives.archive` for what it should be.

Nothing is trusted: the members come in their order and no others, every size and digest is the manifest's, and what is
too long or too much is refused before it is written.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from schemas.manifest import MANIFEST_NAME, MODEL_NAME, Manifest, ManifestFile, has_whole_model
from services.kernel.artifacts import MAX_FILES, MAX_MANIFEST_BYTES, read_manifest
from services.kernel.errors import IntegrityFailed, InvalidInput, TooLarge
from services.kernel.signatures import MAX_BUNDLE_BYTES
from services.registry.archives.archive import (
    FORMAT_VERSION,
    MAX_RECORD_BYTES,
    MAX_SIGNATURES,
    MODEL_FOLDER,
    RECORD_NAME,
    SIGNATURE_NAME,
    SIGNATURES_FOLDER,
    VersionRecord,
)
from services.registry.arrivals.incoming import Incoming, Received
from services.registry.arrivals.tarball import TarReader


@dataclass
class Arrived:
    """What an archive held; its files lie in the folder that it was read into."""

    record: VersionRecord
    manifest: Manifest
    manifest_bytes: bytes
    files: list[Received] = field(default_factory=list)
    signatures: dict[str, bytes] = field(default_factory=dict)
    """The bundle of each key."""


class ArchiveReader:
    """Reads an archive that comes in pieces into `folder`. Blocking.

    `admit` is called with the record before anything else is taken, and raises what speaks against it. Every method
    raises `InvalidInput`, `IntegrityFailed` or `TooLarge` that names what is wrong.
    """

    def __init__(self, folder: Path, max_bytes: int, admit: Callable[[VersionRecord], None]) -> None:
        self._incoming = Incoming(folder)
        self._max_bytes = max_bytes
        self._admit = admit
        self._tar = TarReader(self, 2 * MAX_FILES + MAX_SIGNATURES)
        self._record: VersionRecord | None = None
        self._manifest: Manifest | None = None
        self._files: dict[str, ManifestFile] = {}
        self._small: bytearray | None = None
        self._manifest_bytes = b""
        self._signatures: dict[str, bytes] = {}
        self._name = ""
        self.feed = self._tar.feed

    def finish(self) -> Arrived:
        """What has come, once the archive is complete."""
        self._tar.finish()
        if self._record is None or self._manifest is None:
            raise InvalidInput(f"the archive holds no {RECORD_NAME} with a {MODEL_FOLDER}{MANIFEST_NAME} after it")
        absent = set(self._files) - {file.name for file in self._incoming.files}
        if absent:
            raise IntegrityFailed(f"the archive lacks {MODEL_FOLDER}{min(absent)}, which its manifest names")
        by_key = {key: bundle for key, bundle in self._signatures.items() if key}
        if "" in self._signatures and self._signatures[""] not in by_key.values():
            raise InvalidInput(f"{SIGNATURE_NAME} is none of the archive's {SIGNATURES_FOLDER}")
        return Arrived(self._record, self._manifest, self._manifest_bytes, self._incoming.files, by_key)

    def close(self) -> None:
        """Close a file that was not finished."""
        self._incoming.close()

    def begin(self, name: str, size: int) -> None:
        """See `tarball.Sink`."""
        self._name = name
        path = name.removeprefix(MODEL_FOLDER)
        if self._record is None or name == RECORD_NAME:
            self._expect(self._record is None and name == RECORD_NAME, f"{RECORD_NAME} comes first")
            self._take_small(size, MAX_RECORD_BYTES)
        elif self._manifest is None:
            self._expect(name == MODEL_FOLDER + MANIFEST_NAME, f"{MODEL_FOLDER}{MANIFEST_NAME} comes second")
            self._take_small(size, MAX_MANIFEST_BYTES)
        elif path != name and path in self._files:
            if size != self._files[path].size:
                raise IntegrityFailed(f"{name} has {size} bytes, and {self._files[path].size} in the manifest")
            self._incoming.begin_file(path)
        else:
            self._expect(name == SIGNATURE_NAME or _key_of(name) is not None, "an archive of a version has no other")
            self._expect(len(self._signatures) <= MAX_SIGNATURES, f"{MAX_SIGNATURES} signatures are enough")
            self._take_small(size, MAX_BUNDLE_BYTES)

    def write(self, data: memoryview) -> None:
        """See `tarball.Sink`."""
        if self._small is not None:
            self._small += data
        else:
            self._incoming.write(data)

    def end(self) -> None:
        """See `tarball.Sink`."""
        if self._small is None:
            self._incoming.end()
            received = self._incoming.files[-1]
            if received.sha256 != self._files[received.name].sha256:
                raise IntegrityFailed(f"{self._name} does not have the digest that the manifest gives")
            return
        data, self._small = bytes(self._small), None
        if self._name == RECORD_NAME:
            self._record = _read_record(data)
            self._admit(self._record)
        elif self._manifest is None:
            self._end_manifest(data)
        else:
            self._signatures[_key_of(self._name) or ""] = data

    def _end_manifest(self, data: bytes) -> None:
        assert self._record is not None
        if hashlib.sha256(data).hexdigest() != self._record.manifest_digest:
            raise IntegrityFailed(f"{self._name} does not have the digest that {RECORD_NAME} gives")
        manifest = read_manifest(data)
        if manifest.model_id != self._record.model_id:
            raise IntegrityFailed(f"the manifest is of model {manifest.model_id}, not {self._record.model_id}")
        if not has_whole_model(manifest):
            raise InvalidInput(f"the archive has no {MODEL_NAME}, and no SavedModel, among its model files")
        total_bytes = sum(file.size for file in manifest.files)
        if total_bytes > self._max_bytes:
            raise TooLarge(f"the version has {total_bytes} bytes: see TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES")
        self._manifest, self._manifest_bytes = manifest, data
        self._files = {file.path: file for file in manifest.files}

    def _take_small(self, size: int, max_bytes: int) -> None:
        if size > max_bytes:
            raise TooLarge(f"{self._name} has {size} bytes; the limit is {max_bytes}")
        self._small = bytearray()

    def _expect(self, holds: bool, why: str) -> None:
        if not holds:
            raise InvalidInput(f"the archive's member {self._name[:200]!r} does not belong there: {why}")


def _key_of(name: str) -> str | None:
    key = name.removeprefix(SIGNATURES_FOLDER).removesuffix(".sig")
    is_key = len(key) == 64 and set(key) <= set("0123456789abcdef")
    return key if is_key and name == f"{SIGNATURES_FOLDER}{key}.sig" else None


def _read_record(data: bytes) -> VersionRecord:
    try:
        record = VersionRecord.model_validate_json(data)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the document"
        raise InvalidInput(f"{RECORD_NAME} is not a version's record: {where}: {problem['msg']}") from error
    if record.format_version > FORMAT_VERSION:
        raise InvalidInput(
            f"the archive has format {record.format_version}; this registry reads up to {FORMAT_VERSION}: upgrade it"
        )
    return record
