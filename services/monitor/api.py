"""The monitor's HTTP routes."""

import asyncio
import json
import math
import time
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field, model_validator

from schemas.base import Name, StrictDocument, Version
from schemas.events import Label, LabelsObserved, Scope
from services.kernel.http.api import Reader, Writer
from services.kernel.service import Service
from services.kernel.uow import UnitOfWork
from services.monitor import report, tables
from services.monitor.export import ExportRequest, export
from services.monitor.model import MonitoringDocument
from services.monitor.parts import Parts
from services.monitor.watched import newest_document

router = APIRouter(tags=["monitor"])


class LabelsBody(StrictDocument):
    """`{model_id, labels: [{prediction_id, label}]}`, or a single one as `{model_id, prediction_id, label}`."""

    model_id: Name
    labels: tuple[Label, ...] = Field(default=(), max_length=10_000)
    prediction_id: str | None = Field(default=None, min_length=1, max_length=256)
    label: str | float | None = None

    @model_validator(mode="after")
    def _one_or_many(self) -> "LabelsBody":
        single = self.prediction_id is not None and self.label is not None
        if single == bool(self.labels) or (self.prediction_id is None) != (self.label is None):
            raise ValueError("give either `labels`, or one `prediction_id` with its `label`")
        told = [self.label, *(label.label for label in self.labels)]
        if not all(math.isfinite(label) for label in told if isinstance(label, float)):
            raise ValueError("a label must be a string or a finite number")
        return self

    def message(self) -> LabelsObserved:
        """The message that goes to the topic."""
        if self.labels:
            return LabelsObserved(model_id=self.model_id, labels=self.labels)
        assert self.prediction_id is not None
        assert self.label is not None
        return LabelsObserved(
            model_id=self.model_id, labels=(Label(prediction_id=self.prediction_id, label=self.label),)
        )


@router.get("/mlops/models/{model_id}/drift", summary="Drift of a model: current window, history, performance")
async def drift(
    model_id: Name,
    request: Request,
    _: Reader,
    version: Version | None = None,
    windows: Annotated[int, Query(ge=0, le=1000)] = 50,
) -> dict[str, Any]:
    """Scores by feature with what no drift would look like, n, N and bins; without `version`, of the one served."""
    service, parts = _of(request)
    return await asyncio.to_thread(report.drift_report, service.db, parts.watchlist, model_id, version, windows)


@router.get("/mlops/models/{model_id}/monitoring", summary="How a model is watched")
async def get_monitoring(model_id: Name, request: Request, _: Reader) -> dict[str, Any]:
    """The newest document, secrets masked; revision 0 is the default."""
    service, parts = _of(request)
    found = await service.db.read(lambda connection: newest_document(connection, model_id))
    document = await asyncio.to_thread(parts.watchlist.plan, model_id)
    return {"model_id": model_id, "revision": found[0] if found else 0, **document.shown(), "notes": document.notes()}


@router.put("/mlops/models/{model_id}/monitoring", summary="Say how a model is watched")
async def put_monitoring(
    model_id: Name, document: MonitoringDocument, request: Request, principal: Writer
) -> dict[str, Any]:
    """Store a new revision of the requirements' monitoring document; `notes` says what of it has no effect yet."""
    service, parts = _of(request)

    def write(uow: UnitOfWork) -> int:
        revision = uow.next_revision("monitoring", model_id)
        row = {
            "model_id": model_id,
            "revision": revision,
            "document": json.dumps(document.stored()),
            "at": time.time(),
            "actor": principal.name,
        }
        uow.connection.execute(tables.monitoring.insert().values(row))
        return revision

    revision = await service.work.run(write)
    parts.watchlist.forget_plans()
    return {"model_id": model_id, "revision": revision, **document.shown(), "notes": document.notes()}


@router.post("/mlops/labels", status_code=202, summary="Tell what was true")
async def post_labels(body: LabelsBody, request: Request, principal: Writer) -> dict[str, Any]:
    """Publish labels by prediction id, however late; accepted once they are in the outbox."""
    service, _ = _of(request)
    principal.demand(Scope.WRITE, body.model_id)
    message = body.message()
    event_id = await service.work.run(lambda uow: uow.publish(message))
    return {"model_id": body.model_id, "accepted": len(message.labels), "event_id": event_id}


@router.post("/mlops/models/{model_id}/predictions/export", summary="Predictions with labels, as a dataset")
async def export_predictions(model_id: Name, body: ExportRequest, request: Request, _: Writer) -> dict[str, Any]:
    """Write them to the artifact store as Parquet; `dataset` is null when there are fewer than `min_rows`. `redacted`
    names the features whose values are not in the log."""
    service, parts = _of(request)
    done = await asyncio.to_thread(
        export, service.db, parts.spool, parts.store, model_id, body, parts.settings.monitor_export_rows
    )
    return {
        "model_id": model_id,
        "dataset": done.dataset,
        "digest": done.digest,
        "rows": done.rows,
        "redacted": done.redacted,
    }


@router.get("/mlops/monitor/status", summary="What the monitor has counted")
async def monitor_status(request: Request, principal: Reader) -> dict[str, Any]:
    """Rows by model and version (of those that the key may see), repeats, missing ranges, lag by partition, spool."""
    service, parts = _of(request)
    models = await service.db.read(lambda connection: report.status(connection, principal))
    waiting = await service.db.read(lambda connection: report.labels_waiting(connection, principal))
    return {
        "models": models,
        "labels_waiting": waiting,
        "lag_records": parts.stream.lag(),
        "stopped_partitions": parts.stream.stopped_partitions,
        "spool_bytes": await asyncio.to_thread(parts.spool.size),
    }


def _of(request: Request) -> tuple[Service, Parts]:
    service: Service = request.app.state.service
    return service, service.state["parts"]
