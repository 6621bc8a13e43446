"""The registry's HTTP routes."""

from fastapi import APIRouter

from services.registry.api import (
    aliases,
    annotations,
    approvals,
    archives,
    blobs,
    controls,
    deployments,
    events,
    garbage,
    insight,
    keys,
    models,
    named,
    policies,
    register,
    search,
    signatures,
    verify,
)

__all__ = ["ROUTERS", "UNBOUNDED"]

UNBOUNDED = (register.PATH, blobs.PREFIX, archives.PATH)
"""The paths whose bodies are streamed; their handlers have limits of their own."""

ROUTERS: tuple[APIRouter, ...] = (
    aliases.router,
    approvals.router,
    archives.router,
    controls.router,
    policies.router,
    annotations.router,
    insight.router,
    search.router,
    models.router,
    register.router,
    blobs.router,
    named.router,
    deployments.router,
    keys.router,
    verify.router,
    signatures.router,
    garbage.router,
    events.router,
)
