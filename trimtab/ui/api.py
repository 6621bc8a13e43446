"""Routes of the page and of the event stream."""

import asyncio
import json
from collections.abc import AsyncIterator
from importlib import resources
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import HTMLResponse, StreamingResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from services.kernel.errors import InvalidInput, NotFound
from services.kernel.http.api import Reader
from services.kernel.service import Service
from trimtab.ui.drawing import curve, length
from trimtab.ui.feed import TOPICS, Feed, FeedEvent, events_of
from trimtab.ui.page import Page, build_page, clock, compact
from trimtab.ui.settings import UiSettings
from trimtab.ui.sources import Sources
from trimtab.ui.traffic import Sampler

router = APIRouter(tags=["page"])

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE_HEADERS = {"Content-Security-Policy": CONTENT_SECURITY_POLICY, "Cache-Control": "no-store"}
ASSETS = {"page.css": "text/css", "page.js": "text/javascript", "icon.svg": "image/svg+xml"}

_templates = Environment(loader=PackageLoader("trimtab.ui"), autoescape=True, undefined=StrictUndefined)
_templates.globals.update(curve=curve, length=length)
_templates.filters.update(clock=clock, compact=compact)


@router.get("/", summary="The page", response_class=HTMLResponse)
@router.get("/ui/", include_in_schema=False)
async def page(request: Request, _: Reader) -> HTMLResponse:
    """What the installation does, right now."""
    return await _render(request, "page.html")


@router.get("/ui/main", summary="The page's changing part", response_class=HTMLResponse)
async def main(request: Request, _: Reader) -> HTMLResponse:
    """The same without the frame around it, for the page's own refresh."""
    return await _render(request, "main.html")


@router.get("/ui/assets/{name}", include_in_schema=False)
async def asset(name: str) -> Response:
    """The style sheet and the script."""
    if name not in ASSETS:
        raise NotFound(f"the page has no file {name!r}")
    data = await asyncio.to_thread(resources.files("trimtab.ui").joinpath("static", name).read_bytes)
    return Response(data, media_type=ASSETS[name], headers={"Cache-Control": "no-cache"})


@router.get("/mlops/events", summary="Events as they happen (server-sent events)")
async def events(
    request: Request,
    principal: Reader,
    topics: Annotated[str, Query(max_length=500, description=f"Of {', '.join(TOPICS)}; none: all.")] = "",
    model_id: Annotated[str | None, Query(max_length=128, description="Of this model only.")] = None,
    last_event_id: Annotated[str | None, Header(description="Go on after this event.")] = None,
) -> StreamingResponse:
    """`id`, `event` (the CloudEvents type) and `data` (JSON); a comment when nothing happened for a while."""
    wanted = frozenset(name.strip() for name in topics.split(",") if name.strip())
    if unknown := wanted - set(TOPICS):
        raise InvalidInput(f"the topics to follow are {', '.join(TOPICS)}; not {', '.join(sorted(unknown))}")
    service: Service = request.app.state.service
    settings: UiSettings = service.settings  # type: ignore[assignment]
    feed: Feed = service.state["feed"]
    subscription = feed.subscribe(last_event_id)
    stream = events_of(feed, subscription, wanted, model_id, settings.ui_heartbeat_seconds, lambda: service.stopping)
    return StreamingResponse(
        _as_server_sent(stream, principal.model_prefixes),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _as_server_sent(stream: AsyncIterator[FeedEvent | None], prefixes: tuple[str, ...]) -> AsyncIterator[bytes]:
    yield b": Trimtab\n\n"
    async for event in stream:
        if event is None:
            yield b": still here\n\n"
        elif not prefixes or (event.model_id or "").startswith(prefixes):
            yield f"id: {event.id}\nevent: {event.type}\ndata: {json.dumps(event.document)}\n\n".encode()


async def _render(request: Request, template: str) -> HTMLResponse:
    service: Service = request.app.state.service
    sources: Sources = service.state["sources"]
    sampler: Sampler = service.state["sampler"]
    facts = await sources.read(request.headers.get("authorization"))
    shown: Page = build_page(facts, sampler.traffic)
    return HTMLResponse(_templates.get_template(template).render(page=shown), headers=PAGE_HEADERS)
