"""`/mlops/experiments`: create, list, look at, compare and stop experiments."""

import uuid
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import Name, StrictDocument
from schemas.envelope import Envelope
from schemas.events import Scope
from schemas.jobs import Experiment
from services.kernel import idempotency
from services.kernel.auth import Principal
from services.kernel.errors import Conflict, InvalidInput, NotFound
from services.kernel.http.api import Reader, Writer
from services.kernel.service import Service
from services.kernel.uow import UnitOfWork
from services.tuner import tables
from services.tuner.base_job import choose_base_job
from services.tuner.model import METRICS, ExperimentState, metric_name
from services.tuner.planning import plan
from services.tuner.progress import advance, stop
from services.tuner.settings import TunerSettings
from services.tuner.strategies import check_built
from services.tuner.views import comparison, detail, summary

router = APIRouter(prefix="/mlops/experiments", tags=["experiments"])
ROUTE = "POST /mlops/experiments"


class Comparison(StrictDocument):
    """Which experiments to set side by side."""

    experiment_ids: tuple[str, ...] = Field(min_length=1, max_length=100)


@router.post("", status_code=202, summary="Create and run an experiment")
async def create(
    experiment: Experiment,
    request: Request,
    principal: Writer,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> JSONResponse:
    """202 with the experiment's id; 422 names the field that is wrong; 501 for a strategy that is not built."""
    service: Service = request.app.state.service
    settings = service.settings
    assert isinstance(settings, TunerSettings)
    if metric_name(experiment.metric) is None:
        raise InvalidInput(
            f"metric: {experiment.metric!r} is not measured; there are {', '.join(METRICS)}", field="metric"
        )
    check_built(experiment.search_strategy)
    digest = idempotency.digest(experiment.model_dump(mode="json", by_alias=True))
    known = await service.db.read(tables.known_last_jobs)
    base = choose_base_job(experiment, known, settings.tuner_default_job)
    principal.demand(Scope.WRITE, base.job.model)
    parameters = plan(experiment, base.job)
    experiment_id = f"exp-{uuid.uuid4().hex[:12]}"

    def record(uow: UnitOfWork) -> tuple[int, Any]:
        answered = idempotency.recall(uow.connection, ROUTE, idempotency_key, digest)
        if answered is not None:
            return answered
        cause = Envelope(
            id=experiment_id,
            source=service.work.source,
            type="trimtab.experiment",
            time=uow.now(),
            correlation_id=experiment_id,
        )
        tables.insert_experiment(
            uow.connection,
            experiment_id,
            experiment,
            base_job=base.job,
            base_job_from=base.origin,
            parameters=parameters,
            requested_by=principal.name,
            cause=cause,
            now=uow.now().timestamp(),
        )
        advance(uow, experiment_id)
        answer = summary(uow.connection, _find(uow.connection, experiment_id, principal))
        idempotency.remember(uow.connection, ROUTE, idempotency_key, digest, 202, answer)
        return 202, answer

    status, answer = await service.work.run(record)
    location = f"/mlops/experiments/{answer['experiment_id']}"
    return JSONResponse(answer, status_code=status, headers={"Location": location})


@router.get("", summary="List experiments, the newest first")
async def experiments(
    request: Request,
    principal: Reader,
    model_id: Annotated[Name | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Experiments without their trials."""
    service: Service = request.app.state.service

    def read(connection: sa.Connection) -> list[dict[str, Any]]:
        rows = tables.newest(connection, model_id=model_id, limit=limit, prefixes=principal.model_prefixes)
        return [summary(connection, row) for row in rows]

    return {"experiments": await service.db.read(read)}


@router.post("/compare", summary="Set experiments side by side")
async def compare(wanted: Comparison, request: Request, principal: Reader) -> dict[str, Any]:
    """One row an experiment with its best trial, and every searched parameter as a column. 404 names an unknown id."""
    service: Service = request.app.state.service

    def read(connection: sa.Connection) -> dict[str, Any]:
        rows = [_find(connection, experiment_id, principal) for experiment_id in wanted.experiment_ids]
        return comparison(connection, rows)

    return await service.db.read(read)


@router.get("/{experiment_id}", summary="An experiment: state, trials, best parameters")
async def experiment(experiment_id: str, request: Request, principal: Reader) -> dict[str, Any]:
    """404 for an unknown id."""
    service: Service = request.app.state.service
    return await service.db.read(lambda connection: detail(connection, _find(connection, experiment_id, principal)))


@router.delete("/{experiment_id}", status_code=202, summary="Stop an experiment")
async def halt(experiment_id: str, request: Request, principal: Writer) -> dict[str, Any]:
    """202: no further trials, those under way are cancelled; 409 when it has ended."""
    service: Service = request.app.state.service

    def ask(uow: UnitOfWork) -> dict[str, Any]:
        row = tables.find(uow.connection, experiment_id, lock=True)
        row = row or _find(uow.connection, experiment_id, principal)
        principal.demand(Scope.WRITE, row.model_id)
        if row.state != ExperimentState.RUNNING:
            raise Conflict(f"the experiment {experiment_id} has {row.state} already", state=row.state)
        stop(uow, row, f"the experiment was stopped by {principal.name}")
        return summary(uow.connection, _find(uow.connection, experiment_id, principal))

    return await service.work.run(ask)


def _may_read(principal: Principal, model_id: str) -> bool:
    return not principal.model_prefixes or model_id.startswith(principal.model_prefixes)


def _find(connection: sa.Connection, experiment_id: str, principal: Principal) -> Any:
    row = tables.find(connection, experiment_id)
    if row is None or not _may_read(principal, row.model_id):
        raise NotFound(f"there is no experiment {experiment_id!r}")
    return row
