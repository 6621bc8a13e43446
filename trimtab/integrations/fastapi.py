"""Health and metrics for a user's FastAPI application that predicts through Trimtab.

from trimtab.integrations.fastapi import health_router, metrics_router

app.include_router(health_router(client, models=["threat-classifier"]))
app.include_router(metrics_router())
"""

from collections.abc import Sequence

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, CollectorRegistry, generate_latest

from trimtab.async_client import AsyncClient
from trimtab.errors import TrimtabError


def health_router(client: AsyncClient, *, models: Sequence[str] = (), prefix: str = "") -> APIRouter:
    """`GET {prefix}/health`: 200 when Trimtab answers and every one of `models` is deployed, else 503 with reasons."""
    router = APIRouter(prefix=prefix, tags=["health"])

    @router.get("/health", summary="This application and the models that it needs")
    async def health() -> JSONResponse:
        problems = []
        try:
            await client.health()
            for model_id in models:
                deployment = await client.deployment(model_id)
                if not deployment.get("routes"):
                    problems.append(f"{model_id}: no version is deployed")
        except TrimtabError as error:
            problems.append(error.detail)
        body = {"status": "unhealthy" if problems else "healthy", "problems": problems}
        return JSONResponse(body, status_code=503 if problems else 200)

    return router


def metrics_router(registry: CollectorRegistry = REGISTRY, *, prefix: str = "") -> APIRouter:
    """`GET {prefix}/metrics`: the application's own Prometheus metrics."""
    router = APIRouter(prefix=prefix, tags=["metrics"])

    @router.get("/metrics", summary="Prometheus metrics of this application")
    def metrics() -> Response:
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    return router
