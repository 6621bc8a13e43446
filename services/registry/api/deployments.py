"""Routes of deployments: what is wanted, and what each replica really serves."""

from datetime import UTC, datetime
from typing import Annotated, Self

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import AliasChoices, Field, model_validator

from schemas.base import Document, Name, StrictDocument
from schemas.events import DeploymentWanted, Scope
from services.kernel.http.api import Deployer, Reader
from services.kernel.uow import UnitOfWork
from services.registry import deployments
from services.registry.api.parts import (
    LARGEST,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Parts,
    PartsOf,
    VersionRef,
    expected_revision,
    from_cursor,
    once,
    to_cursor,
)
from services.registry.replicas import ReplicaState, ReplicaView
from services.registry.words import Words

router = APIRouter(prefix="/mlops", tags=["deployments"])


class Deploy(StrictDocument):
    """What to send a model's traffic to. Without `version` or `alias`: the one in production.

    `canary` is the percentage that `version` gets beside what serves now; `weights` splits the traffic by version.
    """

    model_id: Name
    version: VersionRef | None = None
    alias: Name | None = None
    canary: float | None = Field(
        default=None, validation_alias=AliasChoices("canary", "canary_percent", "canaryPercent")
    )
    weights: dict[VersionRef, float] | None = Field(default=None, min_length=1, max_length=100)
    shadow: VersionRef | None = None
    fallback: VersionRef | None = None
    sticky_key: str | None = Field(default=None, max_length=256)
    reason: Words = Field(default="", max_length=2000)

    @model_validator(mode="after")
    def _names_one_version(self) -> Self:
        if self.version is not None and self.alias is not None:
            raise ValueError("give either `version` or `alias`, not both")
        return self

    @property
    def reference(self) -> str | None:
        """The version, as a number or as `@alias`."""
        return f"@{self.alias}" if self.alias is not None else self.version


class WantedRoute(StrictDocument):
    """One route of a full wanted state."""

    name: Name
    version: VersionRef
    weight: float


class Wanted(StrictDocument):
    """The whole wanted state of one model. No routes: nothing is served."""

    model_id: Name
    routes: tuple[WantedRoute, ...] = Field(max_length=100)
    shadow: VersionRef | None = None
    fallback: VersionRef | None = None
    sticky_key: str | None = Field(default=None, max_length=256)
    reason: Words = Field(default="", max_length=2000)


class Reason(StrictDocument):
    """Why."""

    reason: Words = Field(default="", max_length=2000)


class DeploymentDocument(DeploymentWanted):
    """The wanted state and the actual one. `converged`: every replica that is not silent serves this revision."""

    converged: bool
    replicas: list[ReplicaView]


class DeploymentPage(Document):
    """A page of deployments, by model id."""

    deployments: list[DeploymentDocument]
    next_cursor: str | None


@router.post("/deploy", summary="Deploy a model", status_code=202, response_model=DeploymentDocument)
async def deploy(
    wanted: Deploy,
    parts: PartsOf,
    principal: Deployer,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Write the wanted state; the replicas follow it. Only versions in staging or production get traffic."""
    principal.demand(Scope.DEPLOY, wanted.model_id)
    expected = expected_revision(if_match, "the deployment's revision")

    def change(uow: UnitOfWork) -> Document:
        document = deployments.deploy(
            uow,
            wanted.model_id,
            version=wanted.reference,
            canary=wanted.canary,
            weights=wanted.weights,
            shadow=wanted.shadow,
            fallback=wanted.fallback,
            sticky_key=wanted.sticky_key,
            actor=principal.name,
            reason=wanted.reason,
            expected_revision=expected,
        )
        return _document(parts, document)

    request = [wanted.model_dump(mode="json"), expected]
    return await once(parts, "deploy", idempotency_key, request, 202, change, principal.name)


@router.get("/deployments", summary="Every deployment, wanted and actual")
async def list_deployments(
    parts: PartsOf, principal: Reader, limit: Limit = 100, cursor: Cursor = None
) -> DeploymentPage:
    """Deployments of the models that the key may see, by model id."""
    after = from_cursor(cursor, str)

    def read(connection: sa.Connection) -> list[DeploymentWanted]:
        return deployments.list_current(
            connection, prefixes=principal.model_prefixes, after=after[0] if after else None, limit=limit + 1
        )

    found = await parts.db.read(read)
    return DeploymentPage(
        deployments=[_document(parts, wanted) for wanted in found[:limit]],
        next_cursor=to_cursor(found[limit - 1].model_id) if len(found) > limit else None,
    )


@router.post("/deployments", summary="Set a whole wanted state", status_code=202, response_model=DeploymentDocument)
async def set_deployment(
    wanted: Wanted,
    parts: PartsOf,
    principal: Deployer,
    idempotency_key: IdempotencyKey = None,
    if_match: IfMatch = None,
) -> JSONResponse:
    """Replace every route, the shadow and the fallback at once. With If-Match it fails if somebody was faster."""
    principal.demand(Scope.DEPLOY, wanted.model_id)
    expected = expected_revision(if_match, "the deployment's revision")

    def change(uow: UnitOfWork) -> Document:
        document = deployments.replace(
            uow,
            wanted.model_id,
            [(route.name, route.version, route.weight) for route in wanted.routes],
            shadow=wanted.shadow,
            fallback=wanted.fallback,
            sticky_key=wanted.sticky_key,
            actor=principal.name,
            reason=wanted.reason,
            expected_revision=expected,
        )
        return _document(parts, document)

    request = [wanted.model_dump(mode="json"), expected]
    return await once(parts, "deployments", idempotency_key, request, 202, change, principal.name)


@router.get("/deployments/{model_id}", summary="One deployment, wanted and actual")
async def get_deployment(model_id: Name, parts: PartsOf, _: Reader, response: Response) -> DeploymentDocument:
    """The newest revision; it is the ETag too."""
    wanted = await parts.db.read(lambda connection: deployments.find_current(connection, model_id))
    response.headers["ETag"] = f'"{wanted.revision}"'
    return _document(parts, wanted)


@router.get("/deployments/{model_id}/history", summary="Every wanted state that a model had")
async def deployment_history(
    model_id: Name,
    parts: PartsOf,
    _: Reader,
    limit: Limit = 100,
    before: Annotated[int | None, Query(ge=1, lt=LARGEST, description="Revisions before this one.")] = None,
) -> list[DeploymentWanted]:
    """Newest first."""

    def read(connection: sa.Connection) -> list[DeploymentWanted]:
        deployments.find_current(connection, model_id)
        return deployments.revisions_of(connection, model_id, before=before, limit=limit)

    return await parts.db.read(read)


@router.post(
    "/deployments/{model_id}/rollback",
    summary="Return to what served before",
    status_code=202,
    response_model=DeploymentDocument,
)
async def rollback(
    model_id: Name,
    parts: PartsOf,
    principal: Deployer,
    why: Reason | None = None,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """The newest earlier wanted state without the version that joined last. 409 when there is none."""
    reason = why.reason if why else ""

    def change(uow: UnitOfWork) -> Document:
        document = deployments.rollback(uow, model_id, actor=principal.name, reason=reason)
        return _document(parts, document)

    request = [model_id, reason]
    return await once(parts, "rollback", idempotency_key, request, 202, change, principal.name)


def _document(parts: Parts, wanted: DeploymentWanted) -> DeploymentDocument:
    replicas = parts.replicas.of(wanted, datetime.now(UTC))
    heard = [replica for replica in replicas if replica.state is not ReplicaState.SILENT]
    return DeploymentDocument(
        **{name: getattr(wanted, name) for name in DeploymentWanted.model_fields},
        converged=bool(heard) and all(replica.state is ReplicaState.CONVERGED for replica in heard),
        replicas=replicas,
    )
