"""`/mlops/train`: submit, list, look at and cancel training jobs."""

import json
import time
import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from schemas.base import Name
from schemas.commands import TrainingRequested
from schemas.envelope import Envelope
from schemas.events import Scope
from schemas.jobs import TrainingJob
from services.kernel import idempotency
from services.kernel.auth import Principal
from services.kernel.errors import Conflict, InvalidInput, NotFound
from services.kernel.http.api import Reader, Writer
from services.kernel.service import Service
from services.kernel.uow import UnitOfWork
from services.trainer import tables
from services.trainer.dispatcher import Dispatcher
from services.trainer.model import JobState
from services.trainer.preparation import check_paths
from services.trainer.reading import peek_columns
from services.trainer.settings import TrainerSettings
from services.trainer.vocabulary import check_job

router = APIRouter(prefix="/mlops/train", tags=["training"])
ROUTE = "POST /mlops/train"


@router.post("", status_code=202, summary="Submit a training job")
async def submit(
    job: TrainingJob,
    request: Request,
    principal: Writer,
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> JSONResponse:
    """202 with the job's id; the same Idempotency-Key again gives the same answer. 422 names the wrong field."""
    service: Service = request.app.state.service
    principal.demand(Scope.WRITE, job.model)
    check_job(job)
    settings = service.settings
    assert isinstance(settings, TrainerSettings)
    check_paths(job, settings.data_roots)
    await _check_label(job)
    document = job.model_dump(mode="json", by_alias=True)
    digest = idempotency.digest(document)
    wanted = TrainingRequested(job_id=f"job-{uuid.uuid4().hex[:12]}", job=job, requested_by=principal.name)

    def record(uow: UnitOfWork) -> tuple[int, Any]:
        answered = idempotency.recall(uow.connection, ROUTE, idempotency_key, digest)
        if answered is not None:
            return answered
        now = uow.now()
        event_id = uow.publish(wanted)
        cause = Envelope(id=event_id, source=service.work.source, type=wanted.TYPE, time=now, correlation_id=event_id)
        tables.insert_job(uow.connection, wanted, now=now.timestamp(), cause=cause)
        answer = _summary(tables.find(uow.connection, wanted.job_id))
        idempotency.remember(uow.connection, ROUTE, idempotency_key, digest, 202, answer)
        return 202, answer

    status, answer = await service.work.run(record)
    dispatcher: Dispatcher = service.state["dispatcher"]
    dispatcher.wake()
    return JSONResponse(answer, status_code=status, headers={"Location": f"/mlops/train/{answer['job_id']}"})


@router.get("", summary="List training jobs, the newest first")
async def jobs(
    request: Request,
    principal: Reader,
    model_id: Annotated[Name | None, Query()] = None,
    state: Annotated[JobState | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """Jobs without their documents and histories."""
    service: Service = request.app.state.service

    def read(connection: sa.Connection) -> list[dict[str, Any]]:
        prefixes = principal.model_prefixes
        rows = tables.newest(connection, model_id=model_id, state=state, limit=limit, prefixes=prefixes)
        return [_summary(row) for row in rows]

    return {"jobs": await service.db.read(read)}


@router.get("/{job_id}", summary="A training job: state, progress, history, outcome")
async def job(job_id: str, request: Request, principal: Reader) -> dict[str, Any]:
    """404 for an unknown id."""
    service: Service = request.app.state.service
    return await service.db.read(lambda connection: _detail(connection, _find(connection, job_id, principal)))


@router.delete("/{job_id}", status_code=202, summary="Cancel a training job")
async def cancel(job_id: str, request: Request, principal: Writer) -> dict[str, Any]:
    """202 when it will be stopped; 409 when it has ended; 404 for an unknown id."""
    service: Service = request.app.state.service

    def ask(uow: UnitOfWork) -> dict[str, Any]:
        row = _find(uow.connection, job_id, principal)
        principal.demand(Scope.WRITE, row.model_id)
        if JobState(row.state).ended:
            raise Conflict(f"the job {job_id} has {row.state} already", state=row.state)
        tables.request_cancel(uow.connection, job_id, f"cancelled by {principal.name}")
        return _summary(tables.find(uow.connection, job_id))

    answer = await service.work.run(ask)
    dispatcher: Dispatcher = service.state["dispatcher"]
    dispatcher.wake()
    return answer


async def _check_label(job: TrainingJob) -> None:
    """Refuse at once what the file's first line shows already: there is no such label column."""
    columns = await peek_columns(job.dataset_config.train_path)
    label = job.dataset_config.label_column or "label"
    if columns is not None and label not in columns:
        raise InvalidInput(
            f"datasetConfig.labelColumn: the training rows have no column {label!r}; name the column that holds the "
            f"class (columns: {', '.join(columns[:60])})",
            field="datasetConfig.labelColumn",
        )


def _may_read(principal: Principal, model_id: str) -> bool:
    return not principal.model_prefixes or model_id.startswith(principal.model_prefixes)


def _find(connection: sa.Connection, job_id: str, principal: Principal) -> Any:
    row = tables.find(connection, job_id)
    if row is None or not _may_read(principal, row.model_id):
        raise NotFound(f"there is no training job {job_id!r}")
    return row


def _summary(row: Any) -> dict[str, Any]:
    outcome = json.loads(row.outcome) if row.outcome else {}
    return {
        "job_id": row.job_id,
        "model_id": row.model_id,
        "state": row.state,
        "attempts": row.attempts,
        "cancel_requested": row.cancel_requested,
        "submitted_at": _time(row.submitted_at),
        "started_at": _time(row.started_at),
        "ended_at": _time(row.ended_at),
        "reason": row.reason,
        "requested_by": row.requested_by,
        "experiment_id": row.experiment_id,
        "trial": row.trial,
        "cycle_id": row.cycle_id,
        "metrics": outcome.get("metrics", {}),
        "error": row.error,
        "detail": row.detail,
    }


def _detail(connection: sa.Connection, row: Any) -> dict[str, Any]:
    history = [
        {
            "epoch": epoch.epoch,
            "epochs": epoch.epochs,
            "metrics": json.loads(epoch.metrics),
            "eta_seconds": epoch.eta_seconds,
            "at": _time(epoch.at),
        }
        for epoch in tables.history(connection, row.job_id, row.fence)
    ]
    running = row.state == JobState.RUNNING
    elapsed = (row.ended_at or time.time()) - row.started_at if row.started_at else None
    return _summary(row) | {
        "progress": history[-1] if history else None,
        "eta_seconds": history[-1]["eta_seconds"] if history and running else None,
        "elapsed_seconds": round(elapsed, 3) if elapsed is not None else None,
        "history": history,
        "outcome": json.loads(row.outcome) if row.outcome else None,
        "worker": row.worker if running else None,
        "job": json.loads(row.document),
    }


def _time(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
