"""The HTTP base of every process: the FastAPI application, its health routes, metrics, and the key check."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from prometheus_client import CONTENT_TYPE_LATEST

from schemas.events import Scope
from services.kernel.auth import Principal
from services.kernel.errors import NotFound
from services.kernel.http import problems
from services.kernel.http.guard import Guard

if TYPE_CHECKING:
    from services.kernel.service import Service


def create_api(
    service: "Service",
    routers: Sequence[APIRouter],
    *,
    title: str,
    unbounded: tuple[str, ...] = (),
    openapi_url: str | None = "/openapi.json",
) -> FastAPI:
    """The application of one service: its own `routers`, health, readiness, metrics, problem documents.

    Handlers find the service at `request.app.state.service`. `openapi_url` None: the routers answer that path.
    """
    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=openapi_url, telemetry=_TRACED_ELSEWHERE)
    app.state.service = service
    problems.install(app)
    app.include_router(_health)
    for router in routers:
        app.include_router(router)
    app.add_middleware(Guard, settings=service.settings, unbounded=unbounded)
    return app


_TRACED_ELSEWHERE: TelemetryConfig = {"tracing": False, "metrics": False, "logs": False, "operation_spans": False}
"""The guard makes a request's span: FastAPI's own, five a request, would be paid for twice."""


def requires(scope: str, *, every_model: bool = False) -> Any:
    """A dependency: the caller's `Principal`, if it may do `scope` on the route's `model_id` (where it has one).

    `every_model`: the route is about all models, so a key that is bound to some is refused.
    """
    wanted = Scope(scope)

    async def check(request: Request) -> Principal:
        service: Service = request.app.state.service
        principal = service.access.identify(request.headers.get("authorization"))
        principal.demand(wanted, request.path_params.get("model_id"))
        if every_model:
            principal.demand_every_model()
        return principal

    check.__name__ = f"requires_{scope}_of_every_model" if every_model else f"requires_{scope}"
    return Depends(check)


Reader = Annotated[Principal, requires("read")]
Writer = Annotated[Principal, requires("write")]
Approver = Annotated[Principal, requires("approve")]
Deployer = Annotated[Principal, requires("deploy")]
Admin = Annotated[Principal, requires("admin")]
EveryModelAdmin = Annotated[Principal, requires("admin", every_model=True)]

_health = APIRouter(tags=["health"])


@_health.get("/healthz", summary="The process lives")
async def healthz() -> dict[str, str]:
    """200 as long as the event loop answers."""
    return {"status": "alive"}


@_health.get("/readyz", summary="The process can do its work")
async def readyz(request: Request) -> JSONResponse:
    """200 when every part is ready, else 503 naming what is waited for."""
    service: Service = request.app.state.service
    waiting = service.waiting_for()
    body = {"status": "waiting" if waiting else "ready", "service": service.name, "waiting_for": waiting}
    return JSONResponse(body, status_code=503 if waiting else 200)


@_health.get("/metrics", summary="Prometheus metrics of this process")
async def metrics(request: Request, _: Annotated[Principal, requires("read")]) -> Response:
    """The text exposition format."""
    service: Service = request.app.state.service
    return Response(await service.metrics_page(), media_type=CONTENT_TYPE_LATEST)


@_health.post("/internal/skip/{topic}/{partition}/{offset}", include_in_schema=False)
async def skip(topic: str, partition: int, offset: int, request: Request, _: EveryModelAdmin) -> dict[str, bool]:
    """Step over an unreadable record that has stopped a partition of this process."""
    service: Service = request.app.state.service
    skipped = [member.skip(service.settings.topic(topic), partition, offset) for member in service.members]
    if not any(skipped):
        raise NotFound(f"{service.name} does not consume {topic}/{partition}")
    return {"skipped": True}
