"""Routes of models, versions and stages."""

import json
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import Document, JsonValue, Measured, Name, StrictDocument, UtcTime, Version
from schemas.events import DeploymentWanted, Scope, Stage
from schemas.features import Signature
from schemas.manifest import BASELINE_NAME, Lineage, Manifest, ManifestFile
from services.kernel.auth import Principal
from services.kernel.http.api import Reader, Writer
from services.kernel.uow import UnitOfWork
from services.registry import deployments, stages, versions
from services.registry.api.parts import IdempotencyKey, PartsOf, from_cursor, once, time_of, to_cursor
from services.registry.handlers import REFUSED
from services.registry.tables import registrations
from services.registry.words import Words

router = APIRouter(prefix="/mlops/models", tags=["models"])

Limit = Annotated[int, Query(ge=1, le=1000, description="Most items of one page.")]
Cursor = Annotated[str | None, Query(max_length=1000, description="`next_cursor` of the page before.")]


class VersionBrief(Document):
    """One version in a list."""

    version: Version
    stage: Stage
    stage_since: UtcTime
    registered_at: UtcTime


class ModelBrief(Document):
    """One model in a list."""

    model_id: Name
    model_name: str
    model_type: str
    created_at: UtcTime
    versions: int
    latest: VersionBrief
    production: VersionBrief | None


class ModelPage(Document):
    """A page of models, by id."""

    models: list[ModelBrief]
    next_cursor: str | None


class VersionDocument(Document):
    """Everything known about one version."""

    model_id: Name
    model_name: str
    model_type: str
    version: Version
    stage: Stage
    stage_since: UtcTime
    framework: str
    metrics: dict[str, Measured]
    hyperparameters: dict[str, JsonValue]
    lineage: Lineage
    parent_version: Version | None
    signature: Signature
    description: str
    changes: str
    tags: dict[str, str]
    artifact: str
    manifest_digest: str
    content_digest: str
    size_bytes: int
    files: tuple[ManifestFile, ...]
    has_baseline: bool
    created_at: UtcTime
    registered_at: UtcTime
    registered_by: str


class Refusal(Document):
    """A trained model that was not registered, and why."""

    job_id: Name
    artifact: str
    error: str
    at: UtcTime


class ModelDocument(Document):
    """A model, its versions (newest first, a page of them), its deployment and what was refused lately."""

    model_id: Name
    model_name: str
    model_type: str
    created_at: UtcTime
    production_version: Version | None
    versions: list[VersionDocument]
    next_cursor: str | None
    deployment: DeploymentWanted | None
    refused: list[Refusal]


class Promotion(StrictDocument):
    """Where to move a version, and why."""

    stage: Stage
    comment: Words = Field(default="", max_length=2000)


class Comment(StrictDocument):
    """Why."""

    comment: Words = Field(default="", max_length=2000)


class Moved(Document):
    """What a move did. `deployment_revision` is set when it ended a canary."""

    model_id: Name
    version: Version
    from_stage: Stage
    stage: Stage
    replaced_version: Version | None
    deployment_revision: int | None


class MoveDocument(Document):
    """One entry of the history; without `from_stage` it is the registration."""

    version: Version
    from_stage: Stage | None
    to_stage: Stage
    at: UtcTime
    actor: str
    comment: str
    replaced_version: Version | None


class History(Document):
    """A page of moves, newest first."""

    model_id: Name
    history: list[MoveDocument]
    next_cursor: str | None


class ProductionAt(Document):
    """What was in production at a time, and the move that brought it there."""

    model_id: Name
    at: UtcTime
    production_version: Version | None
    move: MoveDocument | None


@router.get("", summary="List models")
async def list_models(
    parts: PartsOf,
    principal: Reader,
    stage: Annotated[Stage | None, Query(description="Models with a version in this stage.")] = None,
    name: Annotated[Words | None, Query(max_length=128, description="Part of the id or the name.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> ModelPage:
    """Models that the key may see, by id."""
    after = from_cursor(cursor, str)

    def read(connection: sa.Connection) -> ModelPage:
        rows = versions.list_models(
            connection,
            name=name,
            stage=stage,
            prefixes=principal.model_prefixes,
            after=after[0] if after else None,
            limit=limit + 1,
        )
        page = rows[:limit]
        leading = versions.leading_versions(connection, [row.id for row in page])
        more = len(rows) > limit
        return ModelPage(
            models=[_model_brief(row, [v for v in leading if v.model_id == row.id]) for row in page],
            next_cursor=to_cursor(page[-1].id) if more else None,
        )

    return await parts.db.read(read)


@router.get("/{model_id}", summary="A model with its versions")
async def get_model(
    model_id: Name, parts: PartsOf, _: Reader, limit: Limit = 100, cursor: Cursor = None
) -> ModelDocument:
    """The model, its versions newest first, what is deployed, and what was refused lately."""
    before = from_cursor(cursor, int, int, int)

    def read(connection: sa.Connection) -> ModelDocument:
        model = versions.find_model(connection, model_id)
        position = (before[0], before[1], before[2]) if before else None
        rows = versions.list_versions(connection, model_id, before=position, limit=limit + 1)
        page = rows[:limit]
        last = page[-1] if page else None
        return ModelDocument(
            model_id=model.id,
            model_name=model.name,
            model_type=model.model_type,
            created_at=time_of(model.created_at),
            production_version=versions.production_version(connection, model_id),
            versions=[_version(row) for row in page],
            next_cursor=to_cursor(last.major, last.minor, last.patch) if last and len(rows) > limit else None,
            deployment=deployments.current(connection, model_id),
            refused=_refusals(connection, model_id),
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
            move=_move(move) if move else None,
        )

    return await parts.db.read(read)


@router.get("/{model_id}/{version}", summary="Everything known about a version")
async def get_version(model_id: Name, version: Version, parts: PartsOf, _: Reader) -> VersionDocument:
    """Metrics, hyper-parameters, lineage, signature, stage, digests and sizes."""
    return _version(await parts.db.read(lambda connection: versions.find_version(connection, model_id, version)))


@router.get("/{model_id}/{version}/manifest", summary="The manifest, byte by byte what its digest covers")
async def get_manifest(model_id: Name, version: Version, parts: PartsOf, _: Reader) -> Response:
    """`manifest.json` as it was registered; the ETag is the manifest digest."""
    row = await parts.db.read(lambda connection: versions.find_version(connection, model_id, version))
    return Response(row.manifest, media_type="application/json", headers={"ETag": f'"{row.manifest_digest}"'})


@router.get("/{model_id}/{version}/history", summary="The moves of one version")
async def version_history(
    model_id: Name, version: Version, parts: PartsOf, _: Reader, limit: Limit = 100, cursor: Cursor = None
) -> History:
    """Newest first."""
    before = from_cursor(cursor, int)

    def read(connection: sa.Connection) -> History:
        versions.find_version(connection, model_id, version)
        return _history(connection, model_id, version, before, limit)

    return await parts.db.read(read)


@router.post("/{model_id}/{version}/promote", summary="Move a version to another stage", response_model=Moved)
async def promote(
    model_id: Name,
    version: Version,
    wanted: Promotion,
    parts: PartsOf,
    principal: Writer,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """draft -> staging -> production; what was in production is archived by the same decision."""
    return await _moved(parts, principal, model_id, version, wanted.stage, wanted.comment, idempotency_key)


@router.post("/{model_id}/{version}/archive", summary="Archive a version", response_model=Moved)
async def archive(
    model_id: Name,
    version: Version,
    parts: PartsOf,
    principal: Writer,
    comment: Comment | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Kept for ever, no longer offered. A deployed version is refused."""
    why = comment.comment if comment else ""
    return await _moved(parts, principal, model_id, version, Stage.ARCHIVED, why, idempotency_key)


async def _moved(
    parts: PartsOf, principal: Principal, model_id: str, version: str, stage: Stage, comment: str, key: str | None
) -> JSONResponse:
    def change(uow: UnitOfWork) -> Document:
        moved = stages.move(uow, model_id, version, stage, actor=principal.name, comment=comment)
        if moved.deployment_revision is not None:
            principal.demand(Scope.DEPLOY, model_id)
        return Moved(
            model_id=model_id,
            version=version,
            from_stage=moved.from_stage,
            stage=moved.to_stage,
            replaced_version=moved.replaced_version,
            deployment_revision=moved.deployment_revision,
        )

    request = [model_id, version, stage.value, comment]
    return await once(parts, "promote", key, request, 200, change, principal.name)


def version_document(row: sa.Row[Any]) -> VersionDocument:
    """The document of a version's row."""
    return _version(row)


def _version(row: sa.Row[Any]) -> VersionDocument:
    manifest = Manifest.model_validate(json.loads(row.manifest))
    return VersionDocument(
        model_id=row.model_id,
        model_name=manifest.model_name,
        model_type=manifest.model_type,
        version=row.version,
        stage=row.stage,
        stage_since=time_of(row.stage_since),
        framework=manifest.framework,
        metrics=manifest.metrics,
        hyperparameters=manifest.hyperparameters,
        lineage=manifest.lineage,
        parent_version=row.parent_version,
        signature=manifest.signature,
        description=manifest.description,
        changes=manifest.changes,
        tags=manifest.tags,
        artifact=row.artifact,
        manifest_digest=row.manifest_digest,
        content_digest=row.content_digest,
        size_bytes=row.size_bytes,
        files=manifest.files,
        has_baseline=any(file.path == BASELINE_NAME for file in manifest.files),
        created_at=manifest.created_at,
        registered_at=time_of(row.registered_at),
        registered_by=row.registered_by,
    )


def _model_brief(row: sa.Row[Any], leading: list[sa.Row[Any]]) -> ModelBrief:
    production = next((version for version in leading if version.stage == Stage.PRODUCTION.value), None)
    return ModelBrief(
        model_id=row.id,
        model_name=row.name,
        model_type=row.model_type,
        created_at=time_of(row.created_at),
        versions=leading[0].total,
        latest=_version_brief(leading[0]),
        production=_version_brief(production) if production is not None else None,
    )


def _version_brief(row: sa.Row[Any]) -> VersionBrief:
    return VersionBrief(
        version=row.version,
        stage=row.stage,
        stage_since=time_of(row.stage_since),
        registered_at=time_of(row.registered_at),
    )


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
        history=[_move(row) for row in rows[:limit]],
        next_cursor=to_cursor(rows[limit - 1].seq) if more else None,
    )


def _move(row: sa.Row[Any]) -> MoveDocument:
    return MoveDocument(
        version=row.version,
        from_stage=row.from_stage,
        to_stage=row.to_stage,
        at=time_of(row.at),
        actor=row.actor,
        comment=row.comment,
        replaced_version=row.replaced_version,
    )
