"""Routes of deployments: what is wanted, and what each replica really serves."""

from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import Document, Name, StrictDocument
from schemas.events import DeploymentWanted, Scope
from services.kernel.auth import Principal
from services.kernel.http.api import Deployer, Reader
from services.kernel.uow import UnitOfWork
from services.registry import deployments
from services.registry.api.deployment_bodies import Deploy, Served, Wanted, as_asked
from services.registry.api.graphs import graphs_of
from services.registry.api.parts import (
    LARGEST,
    Cursor,
    IdempotencyKey,
    IfMatch,
    Limit,
    Parts,
    PartsOf,
    answered,
    expected_revision,
    from_cursor,
    once,
    to_cursor,
)
from services.registry.api.serving_options import StrictOptions
from services.registry.replicas import ReplicaState, ReplicaView
from services.registry.words import Words

router = APIRouter(prefix="/mlops", tags=["deployments"])


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
    """Write the wanted state; the replicas follow it. Only versions in staging or production get traffic.

    With `quantize` the answer comes when the smaller graph is made and measured; one that loses too much is a 409 with
    the `report`.
    """
    principal.demand(Scope.DEPLOY, wanted.model_id)
    _demand_fallback(principal, wanted)
    expected = expected_revision(if_match, "the deployment's revision")
    request = [as_asked(wanted), expected]
    if wanted.asked and (earlier := await answered(parts, "deploy", idempotency_key, request, principal.name)):
        return earlier
    numbers, graphs = await graphs_of(parts, wanted.model_id, wanted.asked, wanted.quantize_max_loss, expected)
    variants = {
        name: (numbers.get(each.version, each.version), each.weight) for name, each in (wanted.variants or {}).items()
    }

    def change(uow: UnitOfWork) -> Document:
        document = deployments.deploy(
            uow,
            wanted.model_id,
            version=numbers.get(wanted.reference, wanted.reference),
            canary=wanted.canary,
            weights=wanted.weights,
            variants=variants or None,
            beside=wanted.beside,
            options=wanted.given_options,
            graphs=graphs,
            actor=principal.name,
            reason=wanted.reason,
            expected_revision=expected,
        )
        return _document(parts, document)

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
    """Replace every route, the shadow and the fallbacks at once. With If-Match it fails if somebody was faster."""
    principal.demand(Scope.DEPLOY, wanted.model_id)
    _demand_fallback(principal, wanted)
    expected = expected_revision(if_match, "the deployment's revision")
    request = [as_asked(wanted), expected]
    if wanted.asked and (earlier := await answered(parts, "deployments", idempotency_key, request, principal.name)):
        return earlier
    numbers, graphs = await graphs_of(parts, wanted.model_id, wanted.asked, wanted.quantize_max_loss, expected)

    def change(uow: UnitOfWork) -> Document:
        document = deployments.replace(
            uow,
            wanted.model_id,
            [(route.name, numbers.get(route.version, route.version), route.weight) for route in wanted.routes],
            beside=wanted.beside,
            options=wanted.given_options,
            graphs=graphs,
            actor=principal.name,
            reason=wanted.reason,
            expected_revision=expected,
        )
        return _document(parts, document)

    return await once(parts, "deployments", idempotency_key, request, 202, change, principal.name)


@router.get("/deployments/{model_id}", summary="One deployment, wanted and actual")
async def get_deployment(model_id: Name, parts: PartsOf, _: Reader, response: Response) -> DeploymentDocument:
    """The newest revision; it is the ETag too."""
    wanted = await parts.db.read(lambda connection: deployments.find_current(connection, model_id))
    response.headers["ETag"] = f'"{wanted.revision}"'
    return _document(parts, wanted)


@router.put(
    "/deployments/{model_id}/options",
    summary="Serve a model with other options",
    status_code=202,
    response_model=DeploymentDocument,
)
async def set_options(
    model_id: Name, options: StrictOptions, parts: PartsOf, principal: Deployer, if_match: IfMatch = None
) -> DeploymentDocument:
    """Replace the options and nothing else: routes stay, and the reason for them. `{}` resets the options."""
    principal.demand(Scope.DEPLOY, model_id)
    expected = expected_revision(if_match, "the deployment's revision")

    def change(uow: UnitOfWork) -> DeploymentWanted:
        return deployments.set_options(
            uow,
            model_id,
            options.plain(),
            actor=principal.name,
            expected_revision=expected,
        )

    return _document(parts, await parts.work.run(change))


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


def _demand_fallback(principal: Principal, wanted: Served) -> None:
    """Traffic is sent to another model only by whoever may deploy that one."""
    if wanted.fallback_model is not None:
        principal.demand(Scope.DEPLOY, wanted.fallback_model)


def _document(parts: Parts, wanted: DeploymentWanted) -> DeploymentDocument:
    replicas = parts.replicas.of(wanted, datetime.now(UTC))
    heard = [replica for replica in replicas if replica.state is not ReplicaState.SILENT]
    return DeploymentDocument(
        **{name: getattr(wanted, name) for name in DeploymentWanted.model_fields},
        converged=bool(heard) and all(replica.state is ReplicaState.CONVERGED for replica in heard),
        replicas=replicas,
    )
