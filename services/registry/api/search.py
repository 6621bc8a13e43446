"""The route that searches versions of all models."""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query, Response

from schemas.base import Document, Name, UtcTime, Version
from schemas.events import Stage
from services.kernel.errors import InvalidInput
from services.kernel.http.api import Reader
from services.kernel.idempotency import digest
from services.registry.api.parts import Cursor, Limit, PartsOf, from_cursor, to_cursor
from services.registry.search.finder import Question, find
from services.registry.search.ordering import read_ordering
from services.registry.search.parser import MAX_LENGTH, parse
from services.registry.search.rows import read_found
from services.registry.words import Words

PATH = "/mlops/versions"

router = APIRouter(tags=["models"])

FINGERPRINT = 16
"""Hexadecimal digits by which a cursor knows its question."""


class FoundVersion(Document):
    """One version that was found."""

    model_id: Name
    model_name: str
    version: Version
    aliases: list[Name]
    stage: Stage
    stage_since: UtcTime
    framework: str
    metrics: dict[str, float]
    description: str
    changes: str
    tags: dict[str, str]
    parent_version: Version | None
    job_id: Name | None
    experiment_id: Name | None
    dataset_digest: str | None
    manifest_digest: str
    size_bytes: int
    registered_at: UtcTime
    registered_by: str


class FoundPage(Document):
    """A page of versions. A page may be short, or empty, and have a `next_cursor`: there is more to look through."""

    versions: list[FoundVersion]
    next_cursor: str | None


@router.get(PATH, summary="Search versions of all models", response_model=FoundPage)
async def search_versions(
    parts: PartsOf,
    principal: Reader,
    filter: Annotated[
        str,
        Query(max_length=MAX_LENGTH, description="For example `metrics.f1 > 0.9 and stage in (staging, production)`."),
    ] = "",
    text: Annotated[Words, Query(max_length=500, description="Words that all occur; `frau*` begins a word.")] = "",
    order_by: Annotated[
        str, Query(max_length=300, description="registered_at, version, model_id, metrics.NAME; asc or desc behind it.")
    ] = "registered_at",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Versions of models that the key may see: what fulfils the filter and has the words, newest first."""
    ordering = read_ordering(order_by)
    question = Question(parse(filter), text, ordering, principal.model_prefixes)
    mark = digest([filter, text, order_by, principal.model_prefixes])[:FINGERPRINT]
    position = from_cursor(cursor, str, *ordering.kinds)
    if position is not None and position[0] != mark:
        raise InvalidInput("cursor: it belongs to another search; give the same filter, text and order_by with it")
    after = tuple(position[1:]) if position is not None else None

    def read(connection: sa.Connection) -> bytes:
        found = find(connection, question, after=after, limit=limit, now=datetime.now(UTC))
        rows = read_found(connection, [key[-1] for key in found.keys])
        following = to_cursor(mark, *found.position) if found.position is not None else None
        return msgspec.json.encode({"versions": [_document(row) for row in rows], "next_cursor": following})

    return Response(await parts.db.read(read), media_type="application/json")


def _document(row: dict[str, Any]) -> dict[str, Any]:
    del row["seq"]
    row["registered_at"] = datetime.fromtimestamp(row["registered_at"], UTC)
    row["stage_since"] = datetime.fromtimestamp(row["stage_since"], UTC)
    return row
