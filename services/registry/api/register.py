"""The route that takes a version: a streamed upload, checked, stored, and only then registered."""

import asyncio
import shutil
import tempfile
import uuid
from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from schemas.events import Scope
from schemas.manifest import Manifest
from services.kernel.artifacts import discard_version, store_version
from services.kernel.auth import Principal
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.http.api import Writer
from services.kernel.uow import UnitOfWork
from services.registry import versions
from services.registry.api.documents import VersionDocument, version_document
from services.registry.api.parts import IdempotencyKey, Parts, PartsOf, once
from services.registry.inspection import Limits
from services.registry.submission import Submission, checked_manifest, read_submission
from services.registry.upload import receive
from services.registry.versions import record_digest

PATH = "/mlops/models"

router = APIRouter(tags=["models"])

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["metadata", "model"],
                    "properties": {
                        "metadata": {"type": "string", "description": "JSON: model_id, version, metrics, ..."},
                        "model": {
                            "type": "string",
                            "format": "binary",
                            "description": "The ONNX file; others beside it.",
                        },
                    },
                }
            }
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
    """Take `metadata` and the version's files. 201 with the new version, 200 when this very record exists already."""
    try:
        submission, manifest, manifest_digest, prefix = await _taken(request, parts, principal)
    except OSError as error:
        raise Unavailable(f"the upload cannot be written: {error.strerror or error}; free disk space") from error
    kept: list[bool] = []

    def change(uow: UnitOfWork) -> VersionDocument:
        version, created = versions.register(
            uow,
            manifest,
            manifest_digest=manifest_digest,
            artifact=prefix,
            actor=principal.name,
            version=submission.version,
        )
        kept.append(created)
        row = versions.find_version(uow.connection, manifest.model_id, version)
        return version_document(row)

    asked = [record_digest(manifest), submission.version]
    try:
        answer = await once(parts, "register", idempotency_key, asked, 201, change, principal.name)
    except TrimtabError:
        await asyncio.to_thread(discard_version, parts.store, prefix)
        raise
    if kept != [True]:
        await asyncio.to_thread(discard_version, parts.store, prefix)
        answer.status_code = 200
    return answer


async def _taken(request: Request, parts: Parts, principal: Principal) -> tuple[Submission, Manifest, str, str]:
    """What was sent, its manifest and digest, and the prefix that its files now lie under."""
    await asyncio.to_thread(parts.settings.staging_dir.mkdir, parents=True, exist_ok=True)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=parts.settings.staging_dir))
    try:
        metadata = await receive(
            request.headers.get("content-type", ""),
            request.stream(),
            folder,
            parts.settings.registry_max_upload_bytes,
        )
        submission = read_submission(metadata)
        principal.demand(Scope.WRITE, submission.model_id)
        limits = Limits(parts.settings.registry_inspection_memory_bytes, parts.settings.registry_inspection_seconds)
        async with parts.inspections:
            manifest, manifest_digest = await asyncio.to_thread(checked_manifest, folder, submission, limits)
        prefix = f"models/{submission.model_id}/{uuid.uuid4().hex}"
        await asyncio.to_thread(store_version, parts.store, folder, prefix)
        return submission, manifest, manifest_digest, prefix
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
