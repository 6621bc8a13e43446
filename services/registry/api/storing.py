"""Store, then register: how every route that takes a version ends, whichever way its files came."""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi.responses import JSONResponse

from schemas.base import Document
from schemas.manifest import Manifest
from services.kernel.artifacts import discard_version, read_manifest
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.failpoints import failpoint
from services.kernel.uow import UnitOfWork
from services.registry import versions
from services.registry.api.parts import Parts, once
from services.registry.arrivals.blobs import keep_version, prefix_of
from services.registry.arrivals.incoming import Received
from services.registry.keeping.garbage import rescue_first


@dataclass(frozen=True)
class Stored:
    """A version that lies in the store and has no number yet.

    `is_own`: no other request can have stored the same manifest, since the time in it is this request's.
    """

    manifest: Manifest
    manifest_digest: str
    artifact: str
    is_own: bool


async def store(
    parts: Parts,
    files: Sequence[Received],
    manifest: Manifest,
    data: bytes | None = None,
    *,
    is_own: bool,
    were_sent: bool,
) -> Stored:
    """Put a version into the store; `data` are the bytes of a manifest that another registry wrote.

    `were_sent`: the files came with this request and were hashed; else they are the store's own.

    What is stored is rescued from the collection of garbage before: the bytes, and the place of the manifest. Raises
    `garbage.BeingCollected` and `Unavailable`: send it again.
    """
    written = manifest.to_bytes() if data is None else data
    artifact = prefix_of(manifest.model_id, written)
    await rescue_first(parts.db, [file.sha256 for file in files], artifact)
    await asyncio.to_thread(keep_version, parts.store, files, artifact, written, were_sent=were_sent)
    return Stored(manifest, hashlib.sha256(written).hexdigest(), artifact, is_own)


async def store_own(parts: Parts, checked: Callable[[], Manifest]) -> Stored:
    """Put a manifest of this request's own into the store, where all its files lie.

    `checked` blocks, gives the manifest, and raises when a file is missing. None of them was condemned before: what it
    finds cannot be claimed as garbage for a grace.
    """

    def put() -> Stored:
        manifest = checked()
        written = manifest.to_bytes()
        artifact = prefix_of(manifest.model_id, written)
        keep_version(parts.store, (), artifact, written, were_sent=False)
        return Stored(manifest, hashlib.sha256(written).hexdigest(), artifact, is_own=True)

    return await asyncio.to_thread(put)


async def register_once(
    parts: Parts,
    route: str,
    key: str | None,
    asked: Any,
    actor: str,
    stored: Stored,
    change: Callable[[UnitOfWork, Stored], tuple[Document, bool]],
) -> JSONResponse:
    """The answer of `change`, which gives `stored` its number and says whether it is new: 201, else 200.

    A manifest that no version names is removed, but only when that is certain. A database that does not answer may
    have committed all the same: then the manifest stays, and if no version names it the collection finds it.
    """
    failpoint("registry-stored-before-register")
    created: list[bool] = []

    def within(uow: UnitOfWork) -> Document:
        answer, is_new = change(uow, stored)
        created.append(is_new)
        return answer

    try:
        answer = await once(parts, route, key, asked, 201, within, actor)
    except Unavailable:
        raise
    except versions.BytesGivenUp as given_up:
        await _discard(parts, stored)
        earlier = await _stored_as_it_was(parts, given_up)
        return await register_once(parts, route, key, asked, actor, earlier, change)
    except TrimtabError:
        await _discard(parts, stored)
        raise
    if created != [True]:  # it is there already, or this is the answer to an Idempotency-Key that was used before
        answer.status_code = 200
        await _discard(parts, stored)
    return answer


async def _stored_as_it_was(parts: Parts, given_up: versions.BytesGivenUp) -> Stored:
    """Put the manifest that the version has beside its files, which lie in the store by now. Raises `given_up` where
    the record does not hold it byte by byte."""
    data = given_up.manifest
    digest = hashlib.sha256(data).hexdigest()
    manifest = read_manifest(data)
    if digest != given_up.manifest_digest:
        raise given_up
    artifact = prefix_of(manifest.model_id, data)
    await rescue_first(parts.db, [file.sha256 for file in manifest.files], artifact)
    await asyncio.to_thread(keep_version, parts.store, (), artifact, data, were_sent=False)
    return Stored(manifest, digest, artifact, is_own=False)


async def _discard(parts: Parts, stored: Stored) -> None:
    if stored.is_own:
        await asyncio.to_thread(discard_version, parts.store, stored.artifact)
