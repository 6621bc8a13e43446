"""The route that takes a version, by any of three ways: checked, stored, and only then registered.

By digest (`application/json`: the files were sent to `/mlops/blobs` before), or with its files in one body: a form
(`multipart/form-data`) or an archive (`application/x-tar`).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import StrictDocument
from schemas.events import Scope
from schemas.manifest import Manifest, model_files
from services.kernel.auth import Principal
from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.http.api import Writer
from services.kernel.uow import UnitOfWork
from services.registry import versions
from services.registry.api.bodies import disk_errors, read_json, staging
from services.registry.api.documents import VersionDocument, version_document
from services.registry.api.parts import IdempotencyKey, Parts, PartsOf
from services.registry.api.storing import Stored, register_once, store, store_own
from services.registry.arrivals.blobs import NamedBlob, bring, copied_bytes, within_reach
from services.registry.arrivals.incoming import Incoming, Received, checked_name
from services.registry.arrivals.submission import Submission, checked_manifest, manifest_of, named, read_submission
from services.registry.arrivals.upload import receive
from services.registry.keeping.garbage import any_condemned
from services.registry.untrusted.inspection import GraphInterface
from services.registry.untrusted.inspections import find_interface, model_key
from services.registry.versions import record_digest

PATH = "/mlops/models"
MAX_DOCUMENT_BYTES = 4 << 20
"""Longest JSON document of a registration by digest: metadata, and a thousand files."""

router = APIRouter(tags=["models"])


class Registration(StrictDocument):
    """A version whose files are named by their digests."""

    metadata: Submission
    files: tuple[NamedBlob, ...] = Field(min_length=1)


_WHOLE = {
    "type": "object",
    "required": ["metadata", "model"],
    "properties": {
        "metadata": {"type": "string", "description": "JSON: model_id, version, metrics, ..."},
        "model": {"type": "string", "format": "binary", "description": "The ONNX file; others beside it."},
    },
}
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["metadata", "files"],
                    "properties": {
                        "metadata": {"type": "object", "description": "model_id, version, metrics, ..."},
                        "files": {
                            "type": "array",
                            "items": NamedBlob.model_json_schema(),
                            "description": "Every file by its digest; those that are missing are named by a 409.",
                        },
                    },
                }
            },
            "multipart/form-data": {"schema": _WHOLE},
            "application/x-tar": {
                "schema": {"type": "string", "format": "binary", "description": "`metadata.json`, then the files."}
            },
        },
    }
}


@router.post(
    PATH,
    summary="Register a version",
    status_code=201,
    response_model=VersionDocument,
    openapi_extra=_BODY,
    responses={200: {"model": VersionDocument, "description": "This content was registered before."}},
)
async def register(
    request: Request, parts: PartsOf, principal: Writer, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Take a version. 201 when it is new, 200 when this very record exists already, 409 naming the blobs to send."""
    by_digest = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
    with disk_errors(parts.settings.data_dir):
        submission, stored = await (_by_digest if by_digest else _with_files)(request, parts, principal)

    def change(uow: UnitOfWork, stored: Stored) -> tuple[VersionDocument, bool]:
        row, is_new = versions.register(
            uow,
            stored.manifest,
            manifest_digest=stored.manifest_digest,
            artifact=stored.artifact,
            actor=principal.name,
            version=submission.version,
        )
        return version_document(row, manifest=stored.manifest if is_new else None), is_new

    asked = [record_digest(stored.manifest), submission.version] if idempotency_key is not None else None
    return await register_once(parts, "register", idempotency_key, asked, principal.name, stored, change)


async def _by_digest(request: Request, parts: Parts, principal: Principal) -> tuple[Submission, Stored]:
    """Store a version whose blobs were sent before. A graph that was opened before is not looked at again."""
    asked = Registration.model_validate_json(await read_json(request, MAX_DOCUMENT_BYTES))
    principal.demand(Scope.WRITE, asked.metadata.model_id)
    sizes = _checked_sizes(asked.files, parts.settings.registry_max_upload_bytes)
    is_own = asked.metadata.created_at is None
    files = named(Received(file.path, Path(file.path), file.size, file.sha256) for file in asked.files)
    model = model_files(file.name for file in files)
    key = model_key((file.name, file.sha256) for file in files)

    def look_up(connection: sa.Connection) -> tuple[set[str], GraphInterface | None, bool]:
        return (
            within_reach(connection, principal, list(sizes)),
            find_interface(connection, key),
            any_condemned(connection, sizes),
        )

    mine, known, is_condemned = await parts.db.read(look_up)
    if known is not None and len(files) == len(model) and is_own and not is_condemned:

        def checked() -> Manifest:
            parts.blobs.demand(principal, asked.files, mine)  # first: what is said of a graph, only those hear who may
            return manifest_of(files, asked.metadata, known)

        return asked.metadata, await store_own(parts, checked)
    await asyncio.to_thread(parts.blobs.demand, principal, asked.files, mine)
    async with staging(parts) as (folder, share):
        files = [replace(file, path=folder / file.path) for file in files]
        wanted = [file for file in files if known is None or file.name not in model]
        share.take(await asyncio.to_thread(copied_bytes, parts.store, wanted, folder))
        await asyncio.to_thread(bring, parts.store, wanted)
        manifest = await checked_manifest(files, asked.metadata, parts.inspector, known)
        return asked.metadata, await store(parts, files, manifest, is_own=is_own, were_sent=False)


def _checked_sizes(files: Sequence[NamedBlob], limit: int) -> dict[str, int]:
    """The size of each blob that `files` name. Raises `InvalidInput` and `TooLarge`."""
    names: set[str] = set()
    for file in files:
        names.add(checked_name(file.path, names))
    if sum(file.size for file in files) > limit:
        raise TooLarge(f"the version is over {limit} bytes: see TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES")
    sizes: dict[str, int] = {}
    for file in files:
        if sizes.setdefault(file.sha256, file.size) != file.size:
            raise InvalidInput(f"files: {file.sha256} is said to have {sizes[file.sha256]} and {file.size} bytes")
    return sizes


async def _with_files(request: Request, parts: Parts, principal: Principal) -> tuple[Submission, Stored]:
    """Store a version whose files come with it."""
    async with staging(parts) as (folder, share):
        incoming = Incoming(folder)
        await receive(
            request.headers.get("content-type", ""),
            share.counted(request.stream()),
            incoming,
            max_bytes=parts.settings.registry_max_upload_bytes,
            idle_seconds=parts.settings.registry_upload_idle_seconds,
        )
        submission = read_submission(incoming.metadata)
        principal.demand(Scope.WRITE, submission.model_id)
        files = named(incoming.files)
        manifest = await checked_manifest(files, submission, parts.inspector)
        return submission, await store(parts, files, manifest, is_own=submission.created_at is None, were_sent=True)
