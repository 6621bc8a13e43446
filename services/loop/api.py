"""The loop's routes: where each model's cycle stands, its history, and a person's hand on the switch."""

from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter, Query, Request
from pydantic import Field

from schemas.base import Name, StrictDocument
from services.kernel.errors import Conflict, NotFound
from services.kernel.http.api import Deployer, Reader
from services.kernel.service import Service
from services.kernel.uow import UnitOfWork
from services.loop import tables
from services.loop.cycle import champion_of, open_cycle

router = APIRouter(prefix="/mlops/loop", tags=["loop"])


class RunRequest(StrictDocument):
    """Open a cycle by hand: over the predictions of the last `hours`."""

    hours: float = Field(default=24.0, gt=0, le=24 * 365)
    reason: str = "asked for by a person"


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


def _summary(row: Any) -> dict[str, Any]:
    champion = champion_of(tables.deployment_of(row))
    return {
        "model_id": row.model_id,
        "paused": bool(row.paused),
        "serving_version": champion.version if champion else None,
        "cooldown_until": datetime.fromtimestamp(row.cooldown_until, UTC) if row.cooldown_until else None,
    }


@router.get("", summary="Every model the loop watches")
async def list_models(request: Request, principal: Reader) -> dict[str, Any]:
    """The models that the key may see, with their open cycle's step, if there is one."""
    prefixes = principal.model_prefixes

    def read(connection: Any) -> list[dict[str, Any]]:
        steps = {cycle.model_id: cycle.step.value for cycle in tables.open_cycles(connection)}
        seen = [row for row in tables.all_models(connection) if not prefixes or row.model_id.startswith(prefixes)]
        return [_summary(row) | {"step": steps.get(row.model_id)} for row in seen]

    return {"models": await _service(request).db.read(read)}


@router.get("/{model_id}", summary="A model's cycles, newest first, with every step and its reason")
async def show(
    model_id: Name, request: Request, _: Reader, limit: int = Query(default=10, ge=1, le=100)
) -> dict[str, Any]:
    """404 for a model that was never deployed."""

    def read(connection: Any) -> dict[str, Any]:
        row = tables.model_row(connection, model_id)
        if row is None:
            raise NotFound(f"the loop knows no model {model_id!r}: it learns of a model when it is deployed")
        return _summary(row) | {"cycles": tables.history(connection, model_id, limit)}

    return await _service(request).db.read(read)


@router.post("/{model_id}/pause", summary="Open no more cycles for this model")
async def pause(model_id: Name, request: Request, _: Deployer) -> dict[str, Any]:
    """A cycle that is open goes on."""
    return await _set_paused(request, model_id, True)


@router.post("/{model_id}/resume", summary="Open cycles for this model again")
async def resume(model_id: Name, request: Request, _: Deployer) -> dict[str, Any]:
    """Signals count again, and so does the newest one that came meanwhile, unless it is over."""
    return await _set_paused(request, model_id, False)


async def _set_paused(request: Request, model_id: str, paused: bool) -> dict[str, Any]:
    await _service(request).work.run(lambda uow: tables.set_paused(uow.connection, model_id, paused))
    return {"model_id": model_id, "paused": paused}


@router.post("/{model_id}/run", status_code=202, summary="Open a cycle now")
async def run(model_id: Name, request: Request, _: Deployer, body: RunRequest | None = None) -> dict[str, Any]:
    """409 when a cycle is open, nothing is deployed, or the deployed version's training job is not known."""
    wanted = body or RunRequest()

    def begin(uow: UnitOfWork) -> str:
        champion = champion_of(tables.deployment_of(tables.model_row(uow.connection, model_id)))
        if champion is not None and tables.job_of_version(uow.connection, model_id, champion.version) is None:
            raise Conflict(f"{model_id} {champion.version} was registered from outside: no training job of it is known")
        since = uow.now() - timedelta(hours=wanted.hours)
        return open_cycle(uow, model_id, since, wanted.reason).cycle_id

    return {"model_id": model_id, "cycle_id": await _service(request).work.run(begin)}
