"""The merged metrics of a local cluster: one page for Prometheus on one port."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import httpx
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.kernel.metrics_merge import merge
from trimtab.local.ports import listening_socket

SCRAPE_TIMEOUT_SECONDS = 2.0


class MetricsServer:
    """Serves `/metrics` on `host:port`, asking each of `urls` (service -> base URL) at every request.

    The caller's `Authorization` is shown to the services: where they want a key, so does this page.
    """

    def __init__(self, urls: Mapping[str, str], *, host: str, port: int) -> None:
        self._urls = dict(urls)
        app = Starlette(routes=[Route("/metrics", self._metrics)])
        self._host, self._port = host, port
        self._server = _Server(uvicorn.Config(app, lifespan="off", log_level="warning", access_log=False))
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to listen. Raises `PortTaken`."""
        listener = listening_socket(self._port, setting="TRIMTAB_METRICS_PORT", host=self._host)
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="merged metrics")

    async def stop(self) -> None:
        """Stop listening."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task

    async def _metrics(self, request: Request) -> Response:
        shown = {name: value for name, value in request.headers.items() if name == "authorization"}
        async with httpx.AsyncClient(trust_env=False, timeout=SCRAPE_TIMEOUT_SECONDS, headers=shown) as client:
            answers = await asyncio.gather(*(_ask(client, url) for url in self._urls.values()))
        for answer in answers:
            if answer is not None and answer.status_code in (401, 403):
                headers = {
                    name: answer.headers[name]
                    for name in ("content-type", "www-authenticate")
                    if name in answer.headers
                }
                return Response(answer.content, status_code=answer.status_code, headers=headers)
        pages = [answer.text if answer is not None and answer.status_code == 200 else None for answer in answers]
        return Response(merge(dict(zip(self._urls, pages, strict=True))), media_type=CONTENT_TYPE_LATEST)


async def _ask(client: httpx.AsyncClient, url: str) -> httpx.Response | None:
    try:
        return await client.get(f"{url}/metrics")
    except httpx.HTTPError:
        return None


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: signals are the cluster's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
