"""Composition root of the page's process."""

import httpx

from services.kernel.http.api import create_api
from services.kernel.service import Service
from trimtab.ui.api import router
from trimtab.ui.feed import Feed
from trimtab.ui.settings import UiSettings
from trimtab.ui.sources import Sources
from trimtab.ui.traffic import Sampler


class _Connections:
    """Closes the HTTP connections at the end."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def start(self) -> None:
        """They are made when they are needed."""

    async def stop(self) -> None:
        """Close them."""
        await self._http.aclose()


def build(settings: UiSettings) -> Service:
    """The service; nothing is connected yet. It has no database: all that it shows belongs to others."""
    service = Service("ui", settings)
    http = httpx.AsyncClient(timeout=settings.ui_fetch_seconds, trust_env=False)
    feed = Feed(settings)
    sampler = Sampler(settings, http)
    service.state["feed"] = feed
    service.state["sampler"] = sampler
    service.state["sources"] = Sources(settings, http)
    service.add(_Connections(http))
    service.add(feed)
    service.add(sampler)
    service.app = create_api(service, [router], title="Trimtab page")
    return service
