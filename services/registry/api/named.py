"""Bytes that are sent before their SHA-256 is known, so that a large file is hashed and sent at once.

The sender gives them a name of its own; once all have come the registry has hashed them too and keeps them under the
digest that they have. A version names them by that, as any blob: a name alone registers nothing.
"""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from schemas.base import Document
from services.kernel.errors import NotFound
from services.kernel.http.api import Writer
from services.registry.api.blobs import PREFIX, Length, Offset, announced, progress
from services.registry.api.bodies import disk_errors
from services.registry.api.parts import PartsOf
from services.registry.arrivals.partials import named_piece

NAMED = f"{PREFIX}named/"

router = APIRouter(tags=["blobs"])

Name = Annotated[
    str, Path(pattern=r"^[0-9a-f]{64}$", description="64 hexadecimal digits in lower case; the same ones to go on.")
]


class NamedBlobDocument(Document):
    """How far a blob without a digest has come; `sha256` once it is whole."""

    sha256: str | None
    size: int
    received: int
    complete: bool


@router.head(NAMED + "{name}", summary="How far a blob without a digest has come")
async def received(name: Name, parts: PartsOf, principal: Writer) -> Response:
    """`Upload-Offset`: go on there. `Upload-Complete: ?1`: all of it came, not long ago."""
    partials = parts.blobs.partials
    come = await asyncio.to_thread(partials.received, principal.name, named_piece(name))
    whole = not come and await asyncio.to_thread(partials.digest_of, principal.name, name) is not None
    return Response(headers=progress(come, whole))


@router.put(
    NAMED + "{name}",
    summary="Send a blob before its digest is known, or the rest of it",
    response_model=NamedBlobDocument,
    responses={201: {"model": NamedBlobDocument, "description": "It is complete and in the store."}},
    openapi_extra={
        "requestBody": {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    },
)
async def put(
    name: Name, request: Request, parts: PartsOf, principal: Writer, offset: Offset = 0, length: Length = None
) -> JSONResponse:
    """201 with its SHA-256 once it is complete, and 200 before; 409 naming the right `offset` when this is wrong."""
    size = await announced(request, parts, offset, length)
    with disk_errors(parts.settings.data_dir):
        come = await parts.blobs.receive_named(
            principal, name, offset, size, request.stream(), parts.settings.registry_upload_idle_seconds
        )
    complete = come == size
    sha256 = await asyncio.to_thread(parts.blobs.partials.digest_of, principal.name, name) if complete else None
    document = NamedBlobDocument(sha256=sha256, size=size, received=come, complete=complete)
    return JSONResponse(
        document.model_dump(mode="json"), status_code=201 if complete else 200, headers=progress(come, complete)
    )


@router.delete(NAMED + "{name}", summary="Throw away what has come", status_code=204)
async def discard(name: Name, parts: PartsOf, principal: Writer) -> Response:
    """204; 404 where nothing unfinished has this name, 409 while it is being sent."""
    if not await asyncio.to_thread(parts.blobs.partials.discard, principal.name, named_piece(name)):
        raise NotFound(f"nothing that is not whole has the name {name}")
    return Response(status_code=204)
