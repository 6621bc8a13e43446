"""A model version's directory <-> the artifact store, with every byte accounted for.

Files are content-addressed: each lies once under `blobs/<its SHA-256>`, whoever holds it. A version is its
`manifest.json` under a prefix, written last, so that a half-written version cannot be seen. `manifest_digest` is the
SHA-256 of the stored `manifest.json` bytes as they are; the manifest names every file with its SHA-256. All of them
are checked at every load, in the local cache too. Versions that were stored before blobs were have their files under
the prefix, beside the manifest; they are read as well.

Nothing here removes a blob: what no manifest names any more is the registry's garbage collection to find.

Source: the manifest's own rules are in `schemas.manifest`.
"""

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from schemas.features import Signature
from schemas.manifest import (
    MANIFEST_NAME,
    MODEL_NAME,
    BadManifest,
    Lineage,
    Manifest,
    ManifestFile,
    content_digest,
)
from services.kernel.content import check_content
from services.kernel.errors import IntegrityFailed, InvalidInput, NotFound, TooLarge, Unavailable
from services.kernel.storage.keys import checked_key
from services.kernel.storage.store import ArtifactStore, StoredObject

_Found = TypeVar("_Found")

MAX_FILES = 1_000
"""Files of one version."""
MAX_MANIFEST_BYTES = 8 << 20
"""Size of one manifest.json."""

BLOBS = "blobs"
"""The folder of all files' bytes, by digest."""
TOUCH_AFTER = timedelta(hours=1)
"""Age from which a blob that is used once more is made young; far below the age at which garbage is collected."""

_BLOCK = 1 << 20


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def list_files(directory: Path) -> list[tuple[str, Path]]:
    """(relative path with `/`, path) of every file but the manifest, ordered.

    Raises `InvalidInput` for a symbolic link, anything that is not a plain file, a name outside the grammar
    of storage keys, or more than `MAX_FILES` files.
    """
    found = sorted(_walk(directory, ""))
    if len(found) > MAX_FILES:
        raise InvalidInput(f"{directory.name} has {len(found)} files; a version holds at most {MAX_FILES}")
    return [(name, path) for name, path in found if name != MANIFEST_NAME]


def build_manifest(
    directory: Path,
    *,
    model_id: str,
    framework: str,
    signature: Signature,
    model_files: tuple[str, ...] = (MODEL_NAME,),
    created_at: datetime | None = None,
    model_type: str = "",
    model_name: str = "",
    metrics: dict[str, float] | None = None,
    hyperparameters: dict[str, Any] | None = None,
    lineage: Lineage | None = None,
    description: str = "",
    changes: str = "",
    tags: dict[str, str] | None = None,
) -> Manifest:
    """The manifest of what lies in `directory`; `model_files` are what the content digest covers.

    Raises `InvalidInput` (see `list_files`; or a model file is absent) and `UnsupportedMedia` (see
    `check_content`).
    """
    files = []
    for name, path in list_files(directory):
        check_content(path, name)
        files.append(
            ManifestFile(path=name, size=path.stat().st_size, sha256=file_sha256(path), is_model=name in model_files)
        )
    absent = set(model_files) - {file.path for file in files}
    if absent:
        raise InvalidInput(f"{directory.name} lacks the model file {', '.join(sorted(absent))}")
    return Manifest(
        model_id=model_id,
        model_type=model_type,
        model_name=model_name,
        framework=framework,
        files=tuple(files),
        content_digest=content_digest(files),
        signature=signature,
        metrics=metrics or {},
        hyperparameters=hyperparameters or {},
        lineage=lineage or Lineage(),
        created_at=created_at or datetime.now(UTC),
        description=description,
        changes=changes,
        tags=tags or {},
    )


def write_manifest(directory: Path, manifest: Manifest) -> str:
    """Write `manifest.json` into `directory`; returns the manifest digest."""
    data = manifest.to_bytes()
    (directory / MANIFEST_NAME).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def store_version(store: ArtifactStore, directory: Path, prefix: str) -> str:
    """Put a directory with its `manifest.json` under `prefix`; returns the manifest digest.

    The files go first and the manifest last; a file that the store has is not sent again. Raises `IntegrityFailed`
    when the directory is not what its manifest says.
    """
    data = (directory / MANIFEST_NAME).read_bytes()
    manifest = read_manifest(data)
    verify_directory(directory, manifest)
    for _ in range(2):  # once more, since what was found may have been taken as garbage before it became young
        for file in manifest.files:
            if not keep_blob(store, file.sha256, file.size):
                store.put_file(blob_key(file.sha256), directory / file.path)
    store.put_bytes(f"{prefix}/{MANIFEST_NAME}", data)
    return hashlib.sha256(data).hexdigest()


def blob_key(sha256: str) -> str:
    """Where the store keeps the bytes with this SHA-256 (hex).

    >>> blob_key("ab" * 32)[:14]
    'blobs/ab/ababa'
    """
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


def keep_blob(store: ArtifactStore, sha256: str, size: int) -> bool:
    """Whether the store holds these bytes already; if so they become young again, so that no collection takes them."""
    key = blob_key(sha256)
    try:
        found = store.stat(key)
        if found.size != size:
            return False
        if datetime.now(UTC) - found.modified > TOUCH_AFTER:
            store.touch(key)
    except NotFound:
        return False
    return True


def discard_version(store: ArtifactStore, prefix: str) -> None:
    """Remove what lies under `prefix`, the manifest first, so that no broken version is ever seen. Blobs stay."""
    store.delete(f"{prefix}/{MANIFEST_NAME}")
    for item in list(store.list(prefix)):
        store.delete(item.key)


def fetch_manifest(store: ArtifactStore, prefix: str, manifest_digest: str) -> tuple[Manifest, bytes]:
    """The manifest under `prefix` and its bytes. Raises `IntegrityFailed` unless they have this digest."""
    data = store.get_bytes(f"{prefix}/{MANIFEST_NAME}", max_bytes=MAX_MANIFEST_BYTES)
    if hashlib.sha256(data).hexdigest() != manifest_digest:
        raise IntegrityFailed(f"{prefix}/{MANIFEST_NAME} does not have the digest {manifest_digest}")
    return read_manifest(data), data


def read_manifest(data: bytes) -> Manifest:
    """Parse manifest bytes and check that its paths can be stored. Raises `IntegrityFailed`."""
    try:
        manifest = Manifest.read(data)
        paths = [checked_key(file.path) for file in manifest.files]
    except BadManifest as error:
        raise IntegrityFailed(str(error)) from error
    except InvalidInput as error:
        raise IntegrityFailed(f"the manifest is not valid: {error.detail}") from error
    if len(set(paths)) < len(paths) or MANIFEST_NAME in paths:
        raise IntegrityFailed("the manifest names a file twice, or itself")
    return manifest


def read_file(store: ArtifactStore, prefix: str, file: ManifestFile, max_bytes: int) -> bytes:
    """The verified bytes of one file of the version under `prefix`. Raises `IntegrityFailed` and `TooLarge`."""
    if file.size > max_bytes:
        raise TooLarge(f"{prefix}/{file.path} has {file.size} bytes; the limit is {max_bytes}")
    with open_file(store, prefix, file) as source:
        data = source.read(file.size + 1)
    if len(data) != file.size or hashlib.sha256(data).hexdigest() != file.sha256:
        raise IntegrityFailed(f"{prefix}/{file.path} does not have the digest that the manifest gives")
    return data


def open_file(store: ArtifactStore, prefix: str, file: ManifestFile) -> BinaryIO:
    """A sequential reader of one file of the version under `prefix`, unverified. Raises `IntegrityFailed`: gone."""
    return _wherever(store.open, prefix, file)


def stat_file(store: ArtifactStore, prefix: str, file: ManifestFile) -> StoredObject:
    """What the store says of one file of the version under `prefix`. Raises `IntegrityFailed`: gone."""
    return _wherever(store.stat, prefix, file)


def _wherever(read: Callable[[str], _Found], prefix: str, file: ManifestFile) -> _Found:
    for key in (blob_key(file.sha256), f"{prefix}/{file.path}"):
        try:
            return read(key)
        except NotFound:
            continue
    raise IntegrityFailed(f"{prefix}/{file.path} is in the manifest and not in the store")


def load_version(
    store: ArtifactStore, prefix: str, cache_dir: Path, manifest_digest: str, *, max_bytes: int | None = None
) -> Path:
    """The verified local directory of the version under `prefix`; fetched once, checked byte by byte every
    time.

    The directory is `cache_dir/<manifest_digest>` and appears only when complete. A cached copy that has been
    damaged is thrown away and fetched again. Several threads and processes may load at once. O(bytes), about
    1.6 GB/s when cached.

    Raises `NotFound`, `Unavailable` (the store, or the cache's disk), `TooLarge` (over `max_bytes` by the manifest)
    and `IntegrityFailed`.
    """
    if len(manifest_digest) != 64 or not set(manifest_digest) <= set("0123456789abcdef"):
        raise InvalidInput("a manifest digest is 64 hexadecimal digits in lower case")
    cached = cache_dir / manifest_digest
    if cached.exists():
        try:
            return _verified(cached, manifest_digest)
        except IntegrityFailed:
            _throw_away(cached)
    manifest, data = fetch_manifest(store, prefix, manifest_digest)
    total_bytes = sum(file.size for file in manifest.files)
    if max_bytes is not None and total_bytes > max_bytes:
        raise TooLarge(f"{prefix} has {total_bytes} bytes; the limit is {max_bytes}")
    incoming = cache_dir / f".{uuid.uuid4().hex}"
    try:
        incoming.mkdir(parents=True)
        for file in manifest.files:
            fetch_file(store, prefix, file, incoming / file.path)
        (incoming / MANIFEST_NAME).write_bytes(data)
        if not _put_in_place(incoming, cached):  # somebody else has loaded it meanwhile
            return _verified(cached, manifest_digest)
    except OSError as error:
        raise Unavailable(f"the folder {cache_dir} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return cached


def load_blob(store: ArtifactStore, sha256: str, size: int, cache_dir: Path) -> Path:
    """The verified local copy of a blob that no manifest names; fetched once, checked byte by byte every time.

    It is `cache_dir/blobs/<sha256>` and appears only when complete. Raises `NotFound`, `Unavailable` (the store, or the
    cache's disk) and `IntegrityFailed`.
    """
    cached = cache_dir / BLOBS / sha256
    try:
        if cached.is_file() and cached.stat().st_size == size and file_sha256(cached) == sha256:
            return cached
        cached.parent.mkdir(parents=True, exist_ok=True)
        incoming = cached.with_name(f".{uuid.uuid4().hex}")
        try:
            with store.open(blob_key(sha256)) as source:
                _pour(source, incoming, sha256, size, f"the blob {sha256}")
            incoming.rename(cached)
        finally:
            incoming.unlink(missing_ok=True)
    except OSError as error:
        raise Unavailable(f"the folder {cache_dir} cannot be written: {error.strerror or error}") from error
    return cached


def _put_in_place(incoming: Path, cached: Path) -> bool:
    try:
        incoming.rename(cached)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def verify_directory(directory: Path, manifest: Manifest) -> None:
    """Raise `IntegrityFailed` unless `directory` holds exactly the manifest's files, each with its size and
    SHA-256.
    """
    try:
        present = dict(list_files(directory))
    except InvalidInput as error:
        raise IntegrityFailed(error.detail) from error
    listed = {file.path for file in manifest.files}
    if present.keys() != listed:
        odd = sorted(present.keys() ^ listed)
        raise IntegrityFailed(f"{directory.name}: {', '.join(odd[:5])} is missing or not in the manifest")
    for file in manifest.files:
        path = present[file.path]
        if path.stat().st_size != file.size or file_sha256(path) != file.sha256:
            raise IntegrityFailed(f"{directory.name}/{file.path} does not have the digest that the manifest gives")


def _verified(directory: Path, manifest_digest: str) -> Path:
    try:
        data = (directory / MANIFEST_NAME).read_bytes()
        if hashlib.sha256(data).hexdigest() != manifest_digest:
            raise IntegrityFailed(f"{directory}/{MANIFEST_NAME} does not have the digest {manifest_digest}")
        verify_directory(directory, read_manifest(data))
    except OSError as error:
        raise IntegrityFailed(f"{directory} cannot be read: {error}") from error
    return directory


def fetch_file(store: ArtifactStore, prefix: str, file: ManifestFile, path: Path) -> None:
    """Stream one file to `path`, hashing on the way; stops as soon as it is longer than the manifest says.

    Raises `IntegrityFailed`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with open_file(store, prefix, file) as source:
        _pour(source, path, file.sha256, file.size, f"{prefix}/{file.path}")


def _pour(source: BinaryIO, path: Path, sha256: str, size: int, what: str) -> None:
    digest, read = hashlib.sha256(), 0
    with path.open("xb") as target:
        while block := source.read(_BLOCK):
            read += len(block)
            if read > size:
                break
            digest.update(block)
            target.write(block)
    if read != size or digest.hexdigest() != sha256:
        raise IntegrityFailed(f"{what} does not have the size and the digest that it should have")


def _throw_away(directory: Path) -> None:
    doomed = directory.with_name(f".{uuid.uuid4().hex}")
    try:
        directory.rename(doomed)
    except FileNotFoundError:
        return
    shutil.rmtree(doomed, ignore_errors=True)


def _walk(directory: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            name = checked_key(prefix + entry.name)
            mode = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(mode):
                yield from _walk(Path(entry.path), f"{name}/")
            elif stat.S_ISREG(mode):
                yield name, Path(entry.path)
            else:
                raise InvalidInput(f"{name} is a link or a special file: a version holds plain files only")
