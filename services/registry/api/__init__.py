"""The registry's HTTP routes."""

from fastapi import APIRouter

from services.registry.api import (
    aliases,
    annotations,
    approvals,
    controls,
    deployments,
    events,
    keys,
    models,
    policies,
    register,
    search,
)

__all__ = ["ROUTERS", "UPLOAD_PATH"]

UPLOAD_PATH = register.PATH
"""The one path whose body is streamed; it has a limit of its own."""

ROUTERS: tuple[APIRouter, ...] = (
    aliases.router,
    approvals.router,
    controls.router,
    policies.router,
    annotations.router,
    search.router,
    models.router,
    register.router,
    deployments.router,
    keys.router,
    events.router,
)
