"""Serving's framework routes: configuration, merged health, metrics and OpenAPI, and the gateway behind them.

The predictions themselves are answered before any framework, in `dataplane.py`.
"""

import asyncio
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.routing import APIRoute
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.kernel.bus.probe import BrokerProbe
from services.kernel.errors import NotFound
from services.kernel.http.api import EveryModelAdmin, Reader
from services.kernel.http.problems import MethodNotAllowed
from services.kernel.metrics_merge import merge as merge_metrics
from services.kernel.service import Service
from services.serving import openapi
from services.serving.config import ServerConfig, write_config
from services.serving.explain import importance_api
from services.serving.gateway import OTHERS, Gateway
from services.serving.pool import Pool
from services.serving.siblings import OWN_METRICS, OWN_READINESS

own = APIRouter(tags=["serving"])
rest = APIRouter(include_in_schema=False)


@own.get("/mlops/serving", summary="The server's configuration")
async def get_config(request: Request, _: Reader) -> dict[str, Any]:
    """The document in force, and what of it this release does not do."""
    return _shown(_pool(request).config)


@own.put("/mlops/serving", summary="Configure the server")
async def put_config(config: ServerConfig, request: Request, _: EveryModelAdmin) -> dict[str, Any]:
    """Takes effect at once on this process, within a second on those that share its data folder, and at the next
    start."""
    service: Service = request.app.state.service
    await asyncio.to_thread(write_config, service.state["config_file"], config)
    service.state["configure"](config)
    return _shown(config)


@own.get("/mlops/health", summary="Every service's state")
async def health(request: Request) -> JSONResponse:
    """200 when every service is ready and Kafka answers, else 503; names what each waits for."""
    service: Service = request.app.state.service
    broker: BrokerProbe = service.state["broker"]
    broker_answers, answers = await asyncio.gather(
        broker.answers(), asyncio.gather(*(_gateway(request).fetch(name, "/readyz") for name in OTHERS))
    )
    waiting = service.waiting_for()
    services: dict[str, Any] = {"serving": {"status": "waiting" if waiting else "ready", "waiting_for": waiting}}
    for name, answer in zip(OTHERS, answers, strict=True):
        if answer is None:
            services[name] = {"status": "down", "waiting_for": ["the process does not answer"]}
        else:
            document = answer.json() if answer.status_code in (200, 503) else {}
            services[name] = {
                "status": document.get("status", "unknown"),
                "waiting_for": document.get("waiting_for", []),
            }
    kafka = {"status": "ready" if broker_answers else "down", "bootstrap": service.settings.kafka_bootstrap}
    healthy = all(state["status"] == "ready" for state in (*services.values(), kafka))
    body = {"status": "healthy" if healthy else "degraded", "services": services, "kafka": kafka}
    return JSONResponse(body, status_code=200 if healthy else 503)


@own.get("/mlops/metrics", summary="Prometheus metrics of all services")
async def metrics(request: Request, _: Reader) -> Response:
    """All services' metrics in one page, told apart by the label `service`."""
    answers = await asyncio.gather(*(_gateway(request).fetch(name, "/metrics") for name in OTHERS))
    pages = {
        name: answer.text if answer is not None and answer.status_code == 200 else None
        for name, answer in zip(OTHERS, answers, strict=True)
    }
    service: Service = request.app.state.service
    own = (await service.metrics_page()).decode()
    page = await asyncio.to_thread(merge_metrics, {"serving": own, **pages})
    return Response(page, media_type=CONTENT_TYPE_LATEST)


@rest.get(OWN_METRICS)
async def own_metrics(_: Reader) -> Response:
    """This worker's metrics, without its siblings'."""
    return Response(await asyncio.to_thread(generate_latest), media_type=CONTENT_TYPE_LATEST)


@rest.get(OWN_READINESS)
async def own_readiness(request: Request, _: Reader) -> Response:
    """200 once this worker is ready, whatever its siblings are."""
    return Response(status_code=503 if request.app.state.service.own_waiting_for() else 200)


@rest.get("/openapi.json")
async def merged_openapi(request: Request) -> JSONResponse:
    """One document for the whole public port."""
    answers = await asyncio.gather(*(_gateway(request).fetch(name, "/openapi.json") for name in OTHERS))
    documents = {
        name: answer.json() if answer is not None and answer.status_code == 200 else None
        for name, answer in zip(OTHERS, answers, strict=True)
    }
    return JSONResponse(openapi.merge(request.app.openapi(), documents))


@rest.get("/docs")
async def docs() -> HTMLResponse:
    """The interactive documentation; its scripts come from a public CDN."""
    return get_swagger_ui_html(openapi_url="/openapi.json", title="Trimtab")


@rest.api_route("/{path:path}", methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
async def forward(request: Request) -> Response:
    """Everything else belongs to another service."""
    try:
        return await _gateway(request).forward(request)
    except NotFound:
        routers = (own, importance_api.router, rest)
        routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
        routes = [route for route in routes if route.path != "/{path:path}"]
        path = request.url.path
        allowed = {method for route in routes if route.path_regex.match(path) for method in route.methods or ()}
        if allowed:
            raise MethodNotAllowed(request.method, request.url.path, allowed) from None
        raise


def _shown(config: ServerConfig) -> dict[str, Any]:
    return {**config.model_dump(mode="json"), "not_built": config.not_built(), "notes": config.notes()}


def _pool(request: Request) -> Pool:
    pool: Pool = request.app.state.service.state["pool"]
    return pool


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.service.state["gateway"]
    return gateway


ROUTERS = (own, importance_api.router, rest)
