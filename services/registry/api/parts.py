"""What the registry's routes share: the parts of the service, times, cursors, idempotent changes."""

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import StringConstraints

from schemas.base import Document
from services.kernel.db import Database
from services.kernel.errors import InvalidInput
from services.kernel.idempotency import digest, recall, remember
from services.kernel.storage import ArtifactStore
from services.kernel.uow import UnitOfWork, Work
from services.registry.arrivals.blobs import Blobs
from services.registry.arrivals.direct import DirectBlobs
from services.registry.arrivals.room import Room
from services.registry.quantization.quantizer import Quantizer
from services.registry.replicas import Replicas
from services.registry.settings import RegistrySettings
from services.registry.untrusted.inspections import Inspector


@dataclass(frozen=True)
class Parts:
    """What the routes work with."""

    settings: RegistrySettings
    db: Database
    work: Work
    store: ArtifactStore
    replicas: Replicas
    inspector: Inspector
    blobs: Blobs
    direct: DirectBlobs
    room: Room
    quantizer: Quantizer


async def parts_of(request: Request) -> Parts:  # FastAPI would run a plain function in a thread
    """The parts that `app.build` put together."""
    parts: Parts = request.app.state.service.state["parts"]
    return parts


LARGEST = 2**53
"""Numbers in requests are below this, so that every database can take them."""

VersionRef = Annotated[
    str,
    StringConstraints(pattern=r"^(@[A-Za-z0-9][A-Za-z0-9._-]{0,127}|(0|[1-9]\d{0,8})(\.(0|[1-9]\d{0,8})){2})$"),
]
"""A version, or the alias that names one: `1.0.20240614`, `@champion`."""

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of one page.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")]
PartsOf = Annotated[Parts, Depends(parts_of)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=256,
        description="The same key with the same request changes nothing twice; with another request it is a 409.",
    ),
]
IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description="The revision that this replaces; 412 if it is not the present one."),
]


def expected_revision(if_match: str | None, what: str) -> int | None:
    """The revision in If-Match; None for `*` or nothing. Raises `InvalidInput` naming `what` it should be."""
    if if_match is None or if_match.strip() == "*":
        return None
    text = if_match.strip().removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise InvalidInput(f"If-Match: give {what}, for example `If-Match: 3`")
    return int(text)


async def once(
    parts: Parts,
    route: str,
    key: str | None,
    request: Any,
    status: int,
    change: Callable[[UnitOfWork], Document],
    actor: str,
) -> JSONResponse:
    """Run `change` in one transaction and answer its JSON with `status`; a known Idempotency-Key answers as before."""
    fingerprint = digest([actor, request]) if key is not None else ""

    def within(uow: UnitOfWork) -> JSONResponse:
        earlier = recall(uow.connection, route, key, fingerprint)
        if earlier is not None:
            code, body = earlier
            return JSONResponse(body, status_code=code)
        answer = change(uow).model_dump_json().encode()
        if key is not None:
            remember(uow.connection, route, key, fingerprint, status, json.loads(answer))
        return _Encoded(answer, status_code=status)

    return await parts.work.run(within)


async def answered(parts: Parts, route: str, key: str | None, request: Any, actor: str) -> JSONResponse | None:
    """What `once` answered to this request before, or None: for a change that takes long to prepare."""
    if key is None:
        return None
    fingerprint = digest([actor, request])
    earlier = await parts.db.read(lambda connection: recall(connection, route, key, fingerprint))
    return JSONResponse(earlier[1], status_code=earlier[0]) if earlier is not None else None


class _Encoded(JSONResponse):
    """An answer that is JSON already."""

    def render(self, content: bytes) -> bytes:
        """`content` as it is."""
        return content


def time_of(seconds: float) -> datetime:
    """Seconds since 1970 as a UTC time."""
    return datetime.fromtimestamp(seconds, UTC)


def to_cursor(*position: Any) -> str:
    """An opaque cursor for a position in a list."""
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode().rstrip("=")


def from_cursor(cursor: str | None, *kinds: type) -> list[Any] | None:
    """The position in a cursor of ours. Raises `InvalidInput` for anything else."""
    if cursor is None:
        return None
    try:
        position = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as error:
        raise InvalidInput("cursor: not a cursor of this list") from error
    if not isinstance(position, list) or [type(item) for item in position] != list(kinds):
        raise InvalidInput("cursor: not a cursor of this list")
    if any(_unbindable(item) for item in position):
        raise InvalidInput("cursor: not a cursor of this list")
    return position


def _unbindable(item: Any) -> bool:
    """Whether some database cannot take it."""
    if isinstance(item, str):
        return "\0" in item
    return abs(item) >= LARGEST if isinstance(item, int) else not math.isfinite(item)
