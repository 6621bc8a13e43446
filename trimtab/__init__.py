"""Trimtab: keeps machine-learning models on course. What a person touches: the client, the commands, the page."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trimtab.async_client import AsyncClient
    from trimtab.client import Client

__all__ = ["AsyncClient", "Client"]


def __getattr__(name: str) -> Any:
    """`Client` and `AsyncClient`, imported when first asked for, so that `import trimtab` costs nothing."""
    if name == "Client":
        from trimtab.client import Client

        return Client
    if name == "AsyncClient":
        from trimtab.async_client import AsyncClient

        return AsyncClient
    raise AttributeError(f"module 'trimtab' has no attribute {name!r}")
