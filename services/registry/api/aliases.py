"""Routes of aliases."""

from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from pydantic import Field

from schemas.base import Document, Name, StrictDocument, UtcTime, Version
from services.kernel.http.api import Reader, Writer
from services.registry import aliases, versions
from services.registry.api.governance import AliasDocument, AliasMove, alias_document, alias_move
from services.registry.api.parts import Cursor, Limit, PartsOf, VersionRef, from_cursor, to_cursor
from services.registry.words import Words

router = APIRouter(prefix="/mlops/models", tags=["aliases"])


class AliasWanted(StrictDocument):
    """Which version an alias shall name, and why. `@other`: the one that another alias names."""

    version: VersionRef
    comment: Words = Field(default="", max_length=2000)


class AliasList(Document):
    """The aliases of a model, by name."""

    model_id: Name
    aliases: list[AliasDocument]


class AliasHistory(Document):
    """A page of an alias's moves, newest first."""

    model_id: Name
    alias: Name
    history: list[AliasMove]
    next_cursor: str | None


class AliasAt(Document):
    """What an alias named at a time, and the move by which it did."""

    model_id: Name
    alias: Name
    at: UtcTime
    version: Version | None
    move: AliasMove | None


@router.get("/{model_id}/aliases", summary="The aliases of a model")
async def list_aliases(model_id: Name, parts: PartsOf, _: Reader) -> AliasList:
    """Every alias and the version that it names."""

    def read(connection: sa.Connection) -> AliasList:
        versions.find_model(connection, model_id)
        rows = aliases.list_aliases(connection, [model_id])
        return AliasList(model_id=model_id, aliases=[alias_document(row) for row in rows])

    return await parts.db.read(read)


@router.put("/{model_id}/aliases/{alias}", summary="Let an alias name a version")
async def set_alias(
    model_id: Name, alias: Name, wanted: AliasWanted, parts: PartsOf, principal: Writer
) -> AliasDocument:
    """One version for each alias, any number of aliases for a version. An archived version gets none."""
    row = await parts.work.run(
        lambda uow: aliases.set_alias(
            uow, model_id, alias, wanted.version, actor=principal.name, comment=wanted.comment
        )
    )
    return alias_document(row)


@router.delete("/{model_id}/aliases/{alias}", summary="Remove an alias", status_code=204)
async def remove_alias(
    model_id: Name,
    alias: Name,
    parts: PartsOf,
    principal: Writer,
    comment: Annotated[Words, Query(max_length=2000, description="Why; kept in the history.")] = "",
) -> Response:
    """The version stays as it is, and so does the alias's history."""
    await parts.work.run(lambda uow: aliases.remove_alias(uow, model_id, alias, actor=principal.name, comment=comment))
    return Response(status_code=204)


@router.get("/{model_id}/aliases/{alias}/history", summary="What an alias named, and when; or what it named at a time")
async def alias_history(
    model_id: Name,
    alias: Name,
    parts: PartsOf,
    _: Reader,
    at: Annotated[UtcTime | None, Query(description="Answer what it named then.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> AliasHistory | AliasAt:
    """Every move of the alias, newest first; also of one that was removed."""
    position = from_cursor(cursor, int)

    def read(connection: sa.Connection) -> AliasHistory | AliasAt:
        versions.find_model(connection, model_id)
        if at is not None:
            move = aliases.aliased_at(connection, model_id, alias, at)
            return AliasAt(
                model_id=model_id,
                alias=alias,
                at=at,
                version=move.version if move else None,
                move=alias_move(move) if move else None,
            )
        before = position[0] if position else None
        rows = aliases.alias_history(connection, model_id, alias, before=before, limit=limit + 1)
        return AliasHistory(
            model_id=model_id,
            alias=alias,
            history=[alias_move(row) for row in rows[:limit]],
            next_cursor=to_cursor(rows[limit - 1].seq) if len(rows) > limit else None,
        )

    return await parts.db.read(read)
