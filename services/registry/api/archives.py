"""Routes by which one version leaves as an archive, and by which it comes into another registry."""

import asyncio
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from schemas.base import Document, Name, Version
from schemas.events import Scope, Stage
from services.kernel.artifacts import fetch_manifest
from services.kernel.content import check_content
from services.kernel.errors import UnsupportedMedia
from services.kernel.http.api import Reader, Writer
from services.kernel.http.streams import Stream
from services.kernel.uow import UnitOfWork
from services.registry.api.bodies import disk_errors, staging
from services.registry.api.parts import IdempotencyKey, Parts, PartsOf, VersionRef
from services.registry.api.storing import Stored, register_once, store
from services.registry.archives import transfer
from services.registry.archives.archive import Outgoing, VersionRecord
from services.registry.archives.archive_reader import ArchiveReader, Arrived
from services.registry.arrivals.blocks import pour
from services.registry.arrivals.submission import Submission
from services.registry.untrusted.inspection import check_signature

PATH = "/mlops/models/import"
MEDIA_TYPE = "application/x-tar"
OVERHEAD_BYTES = 1 << 30
"""What an archive may have beside its files: headers, the record, signatures."""

router = APIRouter(tags=["models"])


class Imported(Document):
    """A version that came in an archive. `origin` says what it was elsewhere; signatures that are not taken over are
    named in `unknown_keys`: their keys are not trusted here, or the same record was registered here on its own, so
    that its `manifest_digest` is not the archive's."""

    model_id: Name
    version: Version
    created: bool
    stage: Stage
    manifest_digest: str
    content_digest: str
    size_bytes: int
    origin: str
    signed_by: list[str]
    unknown_keys: list[str]


@router.get(
    "/mlops/models/{model_id}/{version}/export",
    summary="A version as one archive",
    response_class=Stream,
    responses={200: {"content": {MEDIA_TYPE: {}}, "description": "record.json, the folder model/, signatures."}},
)
async def export_version(model_id: Name, version: VersionRef, parts: PartsOf, _: Reader) -> Stream:
    """A tar archive that another registry imports. 422 `integrity-failed` when a file is gone; one that was
    damaged within breaks the answer off before its end."""

    def read(connection: sa.Connection) -> Any:
        return transfer.departing(connection, model_id, version)

    row, record, signatures = await parts.db.read(read)
    manifest, data = await asyncio.to_thread(fetch_manifest, parts.store, row.artifact, row.manifest_digest)
    outgoing = Outgoing(record, manifest, data, row.artifact, signatures)
    name = f"{model_id}-{row.version}.tar"
    await asyncio.to_thread(outgoing.check, parts.store)
    return Stream(
        outgoing.blocks(parts.store),
        media_type=MEDIA_TYPE,
        headers={
            "Content-Length": str(outgoing.size_bytes),
            "Content-Disposition": f'attachment; filename="{name}"',
        },
    )


@router.post(
    PATH,
    summary="Take a version from an archive",
    status_code=201,
    response_model=Imported,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
    responses={200: {"model": Imported, "description": "This version is here already."}},
)
async def import_version(
    request: Request, parts: PartsOf, principal: Writer, idempotency_key: IdempotencyKey = None
) -> JSONResponse:
    """Everything is checked as in an upload; the version keeps its number and becomes a draft. 409: the number is
    taken by something else."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise UnsupportedMedia(f"send an archive that `trimtab models export` wrote, as {MEDIA_TYPE}")

    def admit(record: VersionRecord) -> None:
        principal.demand(Scope.WRITE, record.model_id)

    with disk_errors(parts.settings.data_dir):
        async with staging(parts) as (folder, share):
            max_bytes = parts.settings.registry_max_upload_bytes
            reader = ArchiveReader(folder, max_bytes, admit)
            try:
                await pour(
                    share.counted(request.stream()),
                    reader.feed,
                    max_bytes=max_bytes + OVERHEAD_BYTES,
                    idle_seconds=parts.settings.registry_upload_idle_seconds,
                    limit="TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES",
                )
                arrived = reader.finish()
            finally:
                reader.close()
            await _check(parts, arrived)
            stored = await store(
                parts, arrived.files, arrived.manifest, arrived.manifest_bytes, is_own=False, were_sent=True
            )
    return await _registered(parts, arrived, stored, principal.name, idempotency_key)


async def _check(parts: Parts, arrived: Arrived) -> None:
    """Everything that an upload is checked for."""
    Submission.model_validate(transfer.same_rules(arrived.manifest))
    for file in arrived.files:
        await asyncio.to_thread(check_content, file.path, file.name)
    files = [(file.name, file.path, file.sha256) for file in arrived.files]
    check_signature(arrived.manifest.signature, await parts.inspector.version(files))


async def _registered(
    parts: Parts, arrived: Arrived, stored: Stored, actor: str, idempotency_key: str | None
) -> JSONResponse:
    record = arrived.record

    def change(uow: UnitOfWork, stored: Stored) -> tuple[Imported, bool]:
        created = transfer.arriving(uow, arrived, stored.manifest_digest, stored.artifact, actor=actor)
        kept, passed_over = transfer.keep_signatures(uow, arrived, actor=actor)
        row = transfer.here(uow.connection, record)
        answer = Imported(
            model_id=record.model_id,
            version=record.version,
            created=created,
            stage=row.stage,
            manifest_digest=row.manifest_digest,
            content_digest=arrived.manifest.content_digest,
            size_bytes=sum(file.size for file in arrived.files),
            origin=record.origin,
            signed_by=kept,
            unknown_keys=passed_over,
        )
        return answer, created

    asked = [record.manifest_digest, record.version, sorted(arrived.signatures)]
    return await register_once(parts, "import", idempotency_key, asked, actor, stored, change)
