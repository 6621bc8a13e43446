"""Routes of models, versions and stages."""

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from schemas.base import Document, Name, UtcTime
from schemas.events import Scope, Stage
from services.kernel.auth import Principal
from services.kernel.http.api import Reader, Writer
from services.kernel.uow import UnitOfWork
from services.registry import aliases, deployments, stages, versions
from services.registry.annotations import fingerprint
from services.registry.api.documents import (
    Comment,
    History,
    ModelDocument,
    ModelPage,
    Moved,
    ProductionAt,
    Promotion,
    Refusal,
    VersionDocument,
    model_brief,
    move_document,
    version_fields,
)
from services.registry.api.parts import (
    Cursor,
    IdempotencyKey,
    Limit,
    PartsOf,
    VersionRef,
    from_cursor,
    once,
    time_of,
    to_cursor,
)
from services.registry.handlers import REFUSED
from services.registry.tables import registrations
from services.registry.words import Words

router = APIRouter(prefix="/mlops/models", tags=["models"])


@router.get("", summary="List models")
async def list_models(
    parts: PartsOf,
    principal: Reader,
    stage: Annotated[Stage | None, Query(description="Models with a version in this stage.")] = None,
    name: Annotated[Words | None, Query(max_length=128, description="Part of the id or the name.")] = None,
    text: Annotated[Words, Query(max_length=500, description="Words of a version of it; `frau*` begins one.")] = "",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ModelPage:
    """Models that the key may see, by id."""
    after = from_cursor(cursor, str)

    def read(connection: sa.Connection) -> ModelPage:
        rows = versions.list_models(
            connection,
            name=name,
            text=text,
            stage=stage,
            prefixes=principal.model_prefixes,
            after=after[0] if after else None,
            limit=limit + 1,
        )
        page = rows[:limit]
        leading: dict[str, list[versions.Row]] = {row.id: [] for row in page}
        for version in versions.leading_versions(connection, list(leading)):
            leading[version.model_id].append(version)
        names: dict[str, dict[str, str]] = {row.id: {} for row in page}
        for alias in aliases.list_aliases(connection, list(names)):
            names[alias.model_id][alias.alias] = alias.version
        more = len(rows) > limit
        return ModelPage(
            models=[model_brief(row, leading[row.id], names[row.id]) for row in page],
            next_cursor=to_cursor(page[-1].id) if more else None,
        )

    return await parts.db.read(read)


@router.get("/{model_id}", summary="A model with its versions", response_model=ModelDocument)
async def get_model(model_id: Name, parts: PartsOf, _: Reader, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The model, its versions newest first, what is deployed, and what was refused lately."""
    before = from_cursor(cursor, int, int, int)

    def read(connection: sa.Connection) -> Response:
        model = versions.find_model(connection, model_id)
        position = (before[0], before[1], before[2]) if before else None
        rows = versions.list_versions(connection, model_id, before=position, limit=limit + 1)
        page = rows[:limit]
        last = page[-1] if page else None
        names = {row.alias: row.version for row in aliases.list_aliases(connection, [model_id])}
        wanted = deployments.current(connection, model_id)
        return _json(
            {
                "model_id": model.id,
                "model_name": model.name,
                "model_type": model.model_type,
                "created_at": time_of(model.created_at),
                "production_version": versions.production_version(connection, model_id),
                "aliases": names,
                "versions": [version_fields(row, [n for n, v in names.items() if v == row.version]) for row in page],
                "next_cursor": to_cursor(last.major, last.minor, last.patch) if last and len(rows) > limit else None,
                "deployment": wanted.model_dump(mode="json") if wanted is not None else None,
                "refused": [refusal.model_dump(mode="json") for refusal in _refusals(connection, model_id)],
            }
        )

    return await parts.db.read(read)


@router.get("/{model_id}/history", summary="Who moved what, when and why; or what was in production at a time")
async def history(
    model_id: Name,
    parts: PartsOf,
    _: Reader,
    at: Annotated[UtcTime | None, Query(description="Answer what was in production then.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> History | ProductionAt:
    """Every move of every version, newest first."""
    before = from_cursor(cursor, int)

    def read(connection: sa.Connection) -> History | ProductionAt:
        versions.find_model(connection, model_id)
        if at is None:
            return _history(connection, model_id, None, before, limit)
        move = stages.in_production_at(connection, model_id, at)
        return ProductionAt(
            model_id=model_id,
            at=at,
            production_version=move.version if move else None,
            move=move_document(move) if move else None,
        )

    return await parts.db.read(read)


@router.get("/{model_id}/{version}", summary="Everything known about a version", response_model=VersionDocument)
async def get_version(model_id: Name, version: VersionRef, parts: PartsOf, _: Reader) -> Response:
    """Metrics, hyper-parameters, lineage, signature, stage, aliases, digests, sizes; the ETag is of the annotations."""

    def read(connection: sa.Connection) -> Response:
        row = versions.find_version(connection, model_id, version)
        fields = version_fields(row, aliases.aliases_of(connection, model_id, row.version))
        return _json(fields, ETag=f'"{fingerprint(row)}"')

    return await parts.db.read(read)


@router.get("/{model_id}/{version}/manifest", summary="The manifest, byte by byte what its digest covers")
async def get_manifest(model_id: Name, version: VersionRef, parts: PartsOf, _: Reader) -> Response:
    """`manifest.json` as it was registered; the ETag is the manifest digest."""
    row = await parts.db.read(lambda connection: versions.find_version(connection, model_id, version))
    return Response(row.manifest, media_type="application/json", headers={"ETag": f'"{row.manifest_digest}"'})


@router.get("/{model_id}/{version}/history", summary="The moves of one version")
async def version_history(
    model_id: Name, version: VersionRef, parts: PartsOf, _: Reader, limit: Limit = 100, cursor: Cursor = None
) -> History:
    """Newest first."""
    before = from_cursor(cursor, int)

    def read(connection: sa.Connection) -> History:
        row = versions.find_version(connection, model_id, version)
        return _history(connection, model_id, row.version, before, limit)

    return await parts.db.read(read)


@router.post("/{model_id}/{version}/promote", summary="Move a version to another stage", response_model=Moved)
async def promote(
    model_id: Name,
    version: VersionRef,
    wanted: Promotion,
    parts: PartsOf,
    principal: Writer,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """draft -> staging -> production; what was in production is archived, or kept in staging, by the same decision.

    409 `gates-unmet` with the sentences in `unmet` when the model's policy does not allow it yet.
    """
    return await _moved(
        parts, principal, model_id, version, wanted.stage, wanted.comment, idempotency_key, wanted.changes
    )


@router.post("/{model_id}/{version}/archive", summary="Archive a version", response_model=Moved)
async def archive(
    model_id: Name,
    version: VersionRef,
    parts: PartsOf,
    principal: Writer,
    comment: Comment | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Kept for ever, no longer offered. A deployed version is refused."""
    why = comment.comment if comment else ""
    return await _moved(parts, principal, model_id, version, Stage.ARCHIVED, why, idempotency_key)


def _json(document: Any, **headers: str) -> Response:
    return Response(msgspec.json.encode(document), media_type="application/json", headers=headers)


async def _moved(
    parts: PartsOf,
    principal: Principal,
    model_id: str,
    version: str,
    stage: Stage,
    comment: str,
    key: str | None,
    changes: str | None = None,
) -> JSONResponse:
    def change(uow: UnitOfWork) -> Document:
        moved = stages.move(uow, model_id, version, stage, actor=principal.name, comment=comment, changes=changes)
        if moved.deployment_revision is not None:
            principal.demand(Scope.DEPLOY, model_id)
        return Moved(
            model_id=model_id,
            version=moved.version,
            from_stage=moved.from_stage,
            stage=moved.to_stage,
            replaced_version=moved.replaced_version,
            deployment_revision=moved.deployment_revision,
            unmet=moved.past,
            deployed_versions=moved.deployed_versions,
        )

    request = [model_id, version, stage.value, comment, *([] if changes is None else [changes])]
    return await once(parts, "promote", key, request, 200, change, principal.name)


def _refusals(connection: sa.Connection, model_id: str) -> list[Refusal]:
    rows = connection.execute(
        sa.select(registrations)
        .where(registrations.c.model_id == model_id, registrations.c.state == REFUSED)
        .order_by(registrations.c.seq.desc())
        .limit(10)
    )
    return [Refusal(job_id=row.job_id, artifact=row.artifact, error=row.error, at=time_of(row.at)) for row in rows]


def _history(
    connection: sa.Connection, model_id: str, version: str | None, before: list[Any] | None, limit: int
) -> History:
    rows = stages.history(connection, model_id, version=version, before=before[0] if before else None, limit=limit + 1)
    more = len(rows) > limit
    return History(
        model_id=model_id,
        history=[move_document(row) for row in rows[:limit]],
        next_cursor=to_cursor(rows[limit - 1].seq) if more else None,
    )
