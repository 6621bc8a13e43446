"""Health and metrics routes in a user's own application."""

from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, Counter

from tests.unit.trimtab.installation import Installation, running
from trimtab import AsyncClient
from trimtab.integrations.fastapi import health_router, metrics_router


@pytest.fixture
def installation() -> Iterator[Installation]:
    with running() as server:
        server.answer("GET", "/mlops/health", {"status": "healthy"})
        yield server


@pytest.fixture
async def user(installation: Installation) -> AsyncIterator[httpx.AsyncClient]:
    """A caller of the user's application."""
    app, registry = FastAPI(), CollectorRegistry()
    Counter("orders", "Orders", registry=registry).inc(3)
    async with AsyncClient(installation.url) as client:
        app.include_router(health_router(client, models=["m"]))
        app.include_router(metrics_router(registry, prefix="/internal"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://user") as caller:
            yield caller


async def test_healthy_when_the_model_is_deployed(installation: Installation, user: httpx.AsyncClient) -> None:
    installation.answer("GET", "/mlops/deployments/m", {"routes": [{"version": "1.0.0"}]})
    answer = await user.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "healthy", "problems": []})


async def test_unhealthy_says_why(installation: Installation, user: httpx.AsyncClient) -> None:
    answer = await user.get("/health")
    assert (answer.status_code, answer.json()["problems"]) == (503, ["there is no such thing"])
    installation.answer("GET", "/mlops/deployments/m", {"routes": []})
    answer = await user.get("/health")
    assert answer.json()["problems"] == ["m: no version is deployed"]


async def test_its_own_metrics(user: httpx.AsyncClient) -> None:
    answer = await user.get("/internal/metrics")
    assert "orders_total 3.0" in answer.text
