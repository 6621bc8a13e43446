"""With keys on, every route of every process demands one, but for those listed here."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from services.kernel.service import Service
from services.loop.app import build as build_loop
from services.loop.settings import LoopSettings
from services.monitor.app import build as build_monitor
from services.monitor.settings import MonitorSettings
from services.registry.app import build as build_registry
from services.registry.settings import RegistrySettings
from services.serving.app import build as build_serving
from services.serving.settings import ServingSettings
from services.trainer.app import build as build_trainer
from services.trainer.settings import TrainerSettings
from services.tuner.app import build as build_tuner
from services.tuner.settings import TunerSettings
from trimtab.ui.app import build as build_ui
from trimtab.ui.settings import UiSettings

OPEN = {("GET", "/healthz"), ("GET", "/readyz")}
"""What orchestrators ask for. Everything else needs a key."""

BUILDERS = {
    "registry": (build_registry, RegistrySettings),
    "trainer": (build_trainer, TrainerSettings),
    "monitor": (build_monitor, MonitorSettings),
    "tuner": (build_tuner, TunerSettings),
    "loop": (build_loop, LoopSettings),
    "ui": (build_ui, UiSettings),
    "serving": (build_serving, ServingSettings),
}

DATA_PLANE = [
    ("POST", "/mlops/predict"),
    ("POST", "/mlops/predict/batch"),
    ("POST", "/mlops/explain"),
    ("GET", "/mlops/models/m/importance"),
    ("GET", "/mlops/models/m/importance/trend"),
    ("POST", "/mlops/predictions"),
    ("GET", "/v2"),
    ("GET", "/v2/models/m"),
    ("POST", "/v2/models/m/infer"),
    ("GET", "/v2/models/m/ready"),
    ("GET", "/v2/models/m/stats"),
    ("GET", "/v2/models/m/versions/1/config"),
    ("GET", "/v2/models/stats"),
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/m/load"),
    ("POST", "/v2/repository/models/m/unload"),
    ("GET", "/metrics"),
    ("GET", "/mlops/metrics"),
    ("GET", "/mlops/serving"),
]
"""Serving's own routes, which no FastAPI table lists. Those that it forwards demand the key at their owner."""
UNLISTED = [("POST", "/internal/skip/labels/0/0")]
"""Routes that are not in the OpenAPI document."""


@pytest.fixture(params=list(BUILDERS))
def service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Service]:
    """A service that is built and not started."""
    build, settings = BUILDERS[request.param]
    made = build(settings(auth="keys", internal_key="secret", data_dir=tmp_path))  # type: ignore[operator]
    yield made
    if hasattr(made, "db"):
        made.db.close()


def routes_of(service: Service) -> list[tuple[str, str]]:
    app = service.app
    if not isinstance(app, FastAPI):
        return DATA_PLANE
    paths = app.openapi()["paths"]
    return UNLISTED + [
        (method.upper(), re.sub(r"\{[^}]+\}", "1", path)) for path, methods in paths.items() for method in methods
    ]


async def test_every_route_but_the_listed_ones_demands_a_key(service: Service) -> None:
    routes = [route for route in routes_of(service) if route not in OPEN]
    assert routes
    transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answers = {route: (await client.request(route[0], route[1])).status_code for route in routes}
    assert {route: status for route, status in answers.items() if status != 401} == {}
