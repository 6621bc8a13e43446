"""The routes that take bytes by their SHA-256, before a version names them: in pieces, or by parts straight into S3."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import Document, StrictDocument, UtcTime
from services.kernel.artifacts import blob_key
from services.kernel.errors import InvalidInput, NotFound, TooLarge
from services.kernel.http.api import Writer
from services.registry.api.bodies import disk_errors, read_json
from services.registry.api.parts import LARGEST, Parts, PartsOf
from services.registry.arrivals.blobs import SHA256, NamedBlob, within_reach
from services.registry.arrivals.direct import MAX_PARTS
from services.registry.untrusted.inspections import EXPECTED_BYTES

PREFIX = "/mlops/blobs/"
MAX_DOCUMENT_BYTES = 4 << 20

router = APIRouter(tags=["blobs"])

Digest = Annotated[str, Path(pattern=SHA256, description="SHA-256 of the bytes, 64 hexadecimal digits in lower case.")]
Offset = Annotated[
    int, Header(alias="Upload-Offset", ge=0, lt=LARGEST, description="How many bytes came in earlier requests.")
]
Length = Annotated[
    int | None,
    Header(alias="Upload-Length", ge=0, lt=LARGEST, description="Bytes in all; else what Content-Length says."),
]


class BlobDocument(Document):
    """How far a blob has come."""

    sha256: str
    size: int
    received: int
    complete: bool


class PartsRequest(StrictDocument):
    """An upload in parts."""

    size: Annotated[int, Field(ge=0, lt=LARGEST)]


class PartDocument(Document):
    """One part: `PUT` its bytes to `url`; where it is there already `etag` stands instead."""

    number: int
    size: int
    url: str | None
    etag: str | None


class PartsDocument(Document):
    """An open upload in parts."""

    upload_id: str
    part_bytes: int
    expires: UtcTime
    parts: tuple[PartDocument, ...]


class SentPart(StrictDocument):
    """A part that was put, with the ETag that S3 answered."""

    number: Annotated[int, Field(ge=1, le=MAX_PARTS)]
    etag: Annotated[str, Field(min_length=1, max_length=200)]


class CompleteRequest(StrictDocument):
    """All parts of an upload."""

    upload_id: Annotated[str, Field(min_length=1, max_length=2000)]
    parts: Annotated[tuple[SentPart, ...], Field(min_length=1, max_length=MAX_PARTS)]


@router.head(PREFIX + "{sha256}", summary="How far a blob has come")
async def received(sha256: Digest, parts: PartsOf, principal: Writer) -> Response:
    """`Upload-Offset`: go on there. `Upload-Complete: ?1`: there is nothing to send."""
    try:
        stored = await asyncio.to_thread(parts.store.stat, blob_key(sha256))
    except NotFound:
        pass
    else:
        mine = await parts.db.read(lambda connection: within_reach(connection, principal, [sha256]))
        blob = NamedBlob(path=sha256, size=stored.size, sha256=sha256)
        if not await asyncio.to_thread(parts.blobs.find, principal, [blob], mine):
            return Response(headers=progress(stored.size, True))
    come = await asyncio.to_thread(parts.blobs.partials.received, principal.name, sha256)
    return Response(headers=progress(come, False))


@router.put(
    PREFIX + "{sha256}",
    summary="Send a blob, or the rest of it",
    response_model=BlobDocument,
    responses={201: {"model": BlobDocument, "description": "The blob is complete and in the store."}},
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def put(
    sha256: Digest,
    request: Request,
    parts: PartsOf,
    principal: Writer,
    offset: Offset = 0,
    length: Length = None,
) -> JSONResponse:
    """201 once it is complete, and 200 before; 409 naming the right `offset` when this one is wrong."""
    size = await announced(request, parts, offset, length)
    with disk_errors(parts.settings.data_dir):
        come = await parts.blobs.receive(
            principal, sha256, offset, size, request.stream(), parts.settings.registry_upload_idle_seconds
        )
    document = BlobDocument(sha256=sha256, size=size, received=come, complete=come == size)
    return JSONResponse(
        document.model_dump(mode="json"),
        status_code=201 if document.complete else 200,
        headers=progress(come, document.complete),
    )


@router.post(PREFIX + "{sha256}/parts", summary="Signed URLs to send it straight to S3", response_model=PartsDocument)
async def begin_parts(sha256: Digest, request: Request, parts: PartsOf, principal: Writer) -> PartsDocument:
    """An upload in parts, or the open one of these bytes with what is there already. 409 where artifacts lie in a
    folder: send the bytes by PUT."""
    asked = PartsRequest.model_validate_json(await read_json(request, MAX_DOCUMENT_BYTES))
    _check_size(parts, asked.size)
    with disk_errors(parts.settings.data_dir):
        found, wanted, seconds = await asyncio.to_thread(parts.direct.begin, principal.name, sha256, asked.size)
    return PartsDocument(
        upload_id=found.upload_id,
        part_bytes=found.part_bytes,
        expires=datetime.now(UTC) + timedelta(seconds=seconds),
        parts=tuple(PartDocument(number=p.number, size=p.size, url=p.url, etag=p.etag) for p in wanted),
    )


@router.post(PREFIX + "{sha256}/complete", summary="End an upload in parts", response_model=BlobDocument)
async def complete(sha256: Digest, request: Request, parts: PartsOf, principal: Writer) -> BlobDocument:
    """Read the bytes once; when they have this digest the blob is in the store, else they are thrown away (422)."""
    asked = CompleteRequest.model_validate_json(await read_json(request, MAX_DOCUMENT_BYTES))
    etags = {part.number: part.etag for part in asked.parts}
    with disk_errors(parts.settings.data_dir):
        await asyncio.to_thread(parts.direct.complete, principal.name, sha256, asked.upload_id, etags)
    stored = await asyncio.to_thread(parts.store.stat, blob_key(sha256))
    return BlobDocument(sha256=sha256, size=stored.size, received=stored.size, complete=True)


async def announced(request: Request, parts: Parts, offset: int, length: int | None) -> int:
    """Bytes of the blob in all, of which `offset` came before. Whoever opens it, should it be a large graph, may start.

    Raises `InvalidInput` where nothing says it or it cannot be, `TooLarge` for more than an upload may have.
    """
    size = length
    if size is None:
        sent = request.headers.get("content-length", "")
        if not sent.isdecimal():
            raise InvalidInput("send Upload-Length: how many bytes the blob has in all")
        size = offset + int(sent)
    _check_size(parts, size)
    if offset > size:
        raise InvalidInput(f"Upload-Offset is {offset}, but the blob has {size} bytes")
    if size - offset >= EXPECTED_BYTES:
        await parts.inspector.expect()
    return size


def _check_size(parts: Parts, size: int) -> None:
    """Raise `TooLarge` for more than an upload may have."""
    if size > parts.settings.registry_max_upload_bytes:
        raise TooLarge(
            f"the blob is over {parts.settings.registry_max_upload_bytes} bytes: see TRIMTAB_REGISTRY_MAX_UPLOAD_BYTES"
        )


def progress(offset: int, complete: bool) -> dict[str, str]:
    """The headers that say how far a blob has come."""
    return {"Upload-Offset": str(offset), "Upload-Complete": f"?{int(complete)}", "Cache-Control": "no-store"}
