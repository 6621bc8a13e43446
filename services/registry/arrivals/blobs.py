"""Bytes under their SHA-256: received in pieces, and found when a version names them."""

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import sqlalchemy as sa
from pydantic import Field

from schemas.base import StrictDocument
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import blob_key, keep_blob
from services.kernel.auth import Principal
from services.kernel.errors import Conflict, IntegrityFailed, NotFound, Unavailable
from services.kernel.storage import ArtifactStore
from services.registry.arrivals.blocks import pour
from services.registry.arrivals.incoming import Received
from services.registry.arrivals.partials import Partial, Partials, named_piece
from services.registry.keeping.garbage import CHUNK, VERSIONS
from services.registry.tables import blob_holders

SHA256 = r"^[0-9a-f]{64}$"
_LOOKUPS = 8
"""Objects that are asked for at once."""


class NamedBlob(StrictDocument):
    """A file of a version that is registered by its digest: `path` is its name in the version."""

    path: str
    size: Annotated[int, Field(ge=0, le=2**53)]
    sha256: Annotated[str, Field(pattern=SHA256)]


class MissingBlobs(Conflict):
    """The version names bytes that have not been sent."""

    code = "missing-blobs"


class WrongOffset(Conflict):
    """The upload does not go on where it broke off."""

    code = "wrong-offset"


@dataclass(frozen=True)
class Blobs:
    """The blobs of `store`, those that are on their way in `partials`."""

    store: ArtifactStore
    partials: Partials

    def find(self, principal: Principal, blobs: Iterable[NamedBlob], known: set[str]) -> list[NamedBlob]:
        """Those of `blobs` that are missing; the others are made young, so that no collection takes them.

        A principal that is bound to some models may use the bytes that it has sent, and those in `known`: else a
        digest alone would give it another's file. Blocking.
        """
        bound = bool(principal.model_prefixes)

        def missing(blob: NamedBlob) -> bool:
            if bound and blob.sha256 not in known and not self.partials.has_sent(principal.name, blob.sha256):
                return True
            return not keep_blob(self.store, blob.sha256, blob.size)

        wanted = list(blobs)
        if len(wanted) == 1:
            return [blob for blob in wanted if missing(blob)]
        with ThreadPoolExecutor(_LOOKUPS) as pool:
            return [blob for blob, gone in zip(wanted, pool.map(missing, wanted), strict=True) if gone]

    def demand(self, principal: Principal, blobs: Sequence[NamedBlob], known: set[str]) -> None:
        """Raise `MissingBlobs`, which names what to send, unless all `blobs` are there. Blocking."""
        missing = self.find(principal, {blob.sha256: blob for blob in blobs}.values(), known)
        if missing:
            raise MissingBlobs(
                f"{len(missing)} of {len(blobs)} files have not been sent: PUT each to /mlops/blobs/{{sha256}}, from "
                "the offset `received` on, then register again",
                missing=[
                    {**blob.model_dump(), "received": self.partials.received(principal.name, blob.sha256)}
                    for blob in missing
                ],
            )

    async def receive(
        self, principal: Principal, sha256: str, offset: int, size: int, body: AsyncIterator[bytes], idle_seconds: float
    ) -> int:
        """Append `body` to the blob, whose first `offset` bytes have come; how many bytes of it have come now.

        When that is all of them and their digest is right, the blob is in the store. Raises `WrongOffset` (with the
        right one), `BeingWritten`, `NoRoom`, `IntegrityFailed` (then nothing is kept), `TooLarge` and `SenderGone`.
        """

        def keep(partial: Partial) -> None:
            if partial.sha256() != sha256:
                partial.remove()
                raise IntegrityFailed(
                    f"the bytes that came do not have the SHA-256 {sha256}; they are thrown away: send them again"
                )
            self._keep(partial, principal, sha256)

        return await self._append(principal, sha256, offset, size, body, idle_seconds, keep)

    async def receive_named(
        self, principal: Principal, name: str, offset: int, size: int, body: AsyncIterator[bytes], idle_seconds: float
    ) -> int:
        """As `receive`, of bytes whose digest is not said: once all have come they are stored under what they have."""

        def keep(partial: Partial) -> None:
            sha256 = partial.sha256()
            self._keep(partial, principal, sha256)
            self.partials.note_digest(principal.name, name, sha256)

        return await self._append(principal, named_piece(name), offset, size, body, idle_seconds, keep)

    async def _append(
        self,
        principal: Principal,
        piece: str,
        offset: int,
        size: int,
        body: AsyncIterator[bytes],
        idle_seconds: float,
        keep: Callable[[Partial], None],
    ) -> int:
        partial = await asyncio.to_thread(self.partials.open, principal.name, piece, size)
        try:
            if partial.received != offset:
                raise WrongOffset(
                    f"{partial.received} bytes of {piece} have come: go on with Upload-Offset {partial.received}",
                    offset=partial.received,
                )
            await pour(body, partial.write, max_bytes=size - offset, idle_seconds=idle_seconds, limit="Upload-Length")
            if partial.received == size:
                await asyncio.to_thread(keep, partial)
            return partial.received
        finally:
            await asyncio.to_thread(partial.close)

    def _keep(self, partial: Partial, principal: Principal, sha256: str) -> None:
        self.store.take_file(blob_key(sha256), partial.path)  # what is there already may be damaged
        self.partials.note_sent(principal.name, sha256)


def bring(store: ArtifactStore, files: Iterable[Received]) -> None:
    """Lay stored blobs where `files` say: by a link in the same filesystem, else by a copy. Blocking.

    Raises `Unavailable` when one that was there has been collected meanwhile.
    """
    for file in files:
        try:
            _bring(store, file)
        except (NotFound, FileNotFoundError) as error:
            raise Unavailable(f"{file.name} has just been removed as garbage: send the version again") from error


def copied_bytes(store: ArtifactStore, files: Iterable[Received], folder: Path) -> int:
    """How many bytes `bring` will write below `folder`: those that no link brings there. Blocking."""
    device = folder.stat().st_dev
    total = 0
    for file in files:
        try:
            stored = store.path_of(blob_key(file.sha256))
            linked = stored is not None and stored.stat().st_dev == device
        except (NotFound, FileNotFoundError):  # collected meanwhile: `bring` says so
            linked = True
        total += 0 if linked else file.size
    return total


def _bring(store: ArtifactStore, file: Received) -> None:
    key = blob_key(file.sha256)
    file.path.parent.mkdir(parents=True, exist_ok=True)
    stored = store.path_of(key)
    if stored is not None:
        try:
            file.path.hardlink_to(stored)
            return
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK):
                raise
    store.fetch(key, file.path)


def prefix_of(model_id: str, manifest_bytes: bytes) -> str:
    """Where a version with this `manifest.json` lies: its digest names the place."""
    return f"{VERSIONS}/{model_id}/{hashlib.sha256(manifest_bytes).hexdigest()}"


def keep_version(
    store: ArtifactStore, files: Iterable[Received], prefix: str, manifest_bytes: bytes, *, were_sent: bool
) -> None:
    """Put the files and, last, the manifest into the store, under `prefix`. The files are moved, not copied.

    Files that `were_sent`, and hashed as they came, replace what the store has of them, which may be damaged: sending
    a version again repairs it. Others are those of the store. Raises `Unavailable` when one that was there has been
    collected meanwhile.
    """
    for file in files:
        if not were_sent:
            if keep_blob(store, file.sha256, file.size):
                continue
            if not file.path.exists():
                raise Unavailable(f"{file.name} has just been removed as garbage: send the version again")
        store.take_file(blob_key(file.sha256), file.path)
    store.put_bytes(f"{prefix}/{MANIFEST_NAME}", manifest_bytes)


def within_reach(connection: sa.Connection, principal: Principal, digests: Sequence[str]) -> set[str]:
    """Those of `digests` that a version of a model which this principal is bound to holds; all need not be asked."""
    if not principal.model_prefixes:
        return set()
    start = len(VERSIONS) + 2
    mine = sa.or_(
        *(sa.func.substr(blob_holders.c.artifact, start, len(prefix)) == prefix for prefix in principal.model_prefixes)
    )
    found: set[str] = set()
    for at in range(0, len(digests), CHUNK):
        query = sa.select(blob_holders.c.sha256).where(blob_holders.c.sha256.in_(digests[at : at + CHUNK]), mine)
        found.update(connection.execute(query).scalars())
    return found
