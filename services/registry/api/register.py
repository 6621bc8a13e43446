"""The route that takes a version, by any of three ways: checked, stored, and only then registered.

By digest (`application/json`: the files were sent to `/mlops/blobs` before), or with its files in one body: a form
(`multipart/form-data`) or an archive (`application/x-tar`).
"""

import asyncio
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import StrictDocument
from schemas.events import Scope
from schemas.manifest import MODEL_NAME
from services.kernel.auth import Principal
from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.http.api import Writer
from services.kernel.uow import UnitOfWork
from services.registry import versions
from services.registry.api.bodies import disk_errors, read_json, staging
from services.registry.api.documents import VersionDocument, version_document
from services.registry.api.parts import IdempotencyKey, Parts, PartsOf
from services.registry.api.storing import Stored, register_once, store
from services.registry.arrivals.blobs import NamedBlob, bring, copied_bytes, within_reach
from services.registry.arrivals.incoming import Incoming, Received, checked_name
from services.registry.arrivals.room import Share
from services.registry.arrivals.submission import Submission, checked_manifest, named, read_submission
from services.registry.arrivals.upload import receive
from services.registry.untrusted.inspection import GraphInterface
from services.registry.untrusted.inspections import find_interface
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
    with disk_errors(parts.settings.data_dir):
        async with staging(parts) as (folder, share):
            known: GraphInterface | None = None
            by_digest = request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json"
            if by_digest:
                submission, files, known = await _by_digest(request, parts, principal, folder, share)
            else:
                submission, files = await _with_files(request, parts, principal, folder, share)
            manifest = await checked_manifest(files, submission, parts.inspector, known)
            stored = await store(parts, files, manifest, is_own=submission.created_at is None, were_sent=not by_digest)

    def change(uow: UnitOfWork, stored: Stored) -> tuple[VersionDocument, bool]:
        version, is_new = versions.register(
            uow,
            stored.manifest,
            manifest_digest=stored.manifest_digest,
            artifact=stored.artifact,
            actor=principal.name,
            version=submission.version,
        )
        return version_document(versions.find_version(uow.connection, manifest.model_id, version)), is_new

    asked = [record_digest(manifest), submission.version]
    return await register_once(parts, "register", idempotency_key, asked, principal.name, stored, change)


async def _by_digest(
    request: Request, parts: Parts, principal: Principal, folder: Path, share: Share
) -> tuple[Submission, list[Received], GraphInterface | None]:
    """The files of a version whose blobs were sent before, laid into `folder` to be checked."""
    asked = Registration.model_validate_json(await read_json(request, MAX_DOCUMENT_BYTES))
    principal.demand(Scope.WRITE, asked.metadata.model_id)
    names: set[str] = set()
    for file in asked.files:
        names.add(checked_name(file.path, names))
    if sum(file.size for file in asked.files) > parts.settings.registry_max_upload_bytes:
        limit = parts.settings.registry_max_upload_bytes
        raise TooLarge(f"the version is over {limit} bytes: see TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES")
    sizes: dict[str, int] = {}
    for file in asked.files:
        if sizes.setdefault(file.sha256, file.size) != file.size:
            raise InvalidInput(f"files: {file.sha256} is said to have {sizes[file.sha256]} and {file.size} bytes")
    digests = list(sizes)
    files = named(Received(file.path, folder / file.path, file.size, file.sha256) for file in asked.files)
    model = next(file for file in files if file.name == MODEL_NAME)

    def look_up(connection: sa.Connection) -> tuple[set[str], GraphInterface | None]:
        return within_reach(connection, principal, digests), find_interface(connection, model.sha256)

    mine, known = await parts.db.read(look_up)
    await asyncio.to_thread(parts.blobs.demand, principal, asked.files, mine)
    wanted = [file for file in files if known is None or file is not model]
    share.take(await asyncio.to_thread(copied_bytes, parts.store, wanted, folder))
    await asyncio.to_thread(bring, parts.store, wanted)
    return asked.metadata, files, known


async def _with_files(
    request: Request, parts: Parts, principal: Principal, folder: Path, share: Share
) -> tuple[Submission, list[Received]]:
    """The files of a version that came with it."""
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
    return submission, named(incoming.files)
