"""The registry's HTTP routes."""

from fastapi import APIRouter

from services.registry.api import aliases, approvals, controls, deployments, events, keys, models, policies, register

__all__ = ["ROUTERS", "UPLOAD_PATH"]

UPLOAD_PATH = register.PATH
"""The one path whose body is streamed; it has a limit of its own."""

ROUTERS: tuple[APIRouter, ...] = (
    aliases.router,
    approvals.router,
    controls.router,
    policies.router,
    models.router,
    register.router,
    deployments.router,
    keys.router,
    events.router,
)
