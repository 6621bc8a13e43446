"""Forwards the control plane's paths to the services that own them, over HTTP, streaming both ways."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import urlsplit

import httpx
from fastapi import Request
from fastapi.responses import RedirectResponse, Response

from services.kernel.errors import NotFound, Unavailable
from services.kernel.http.streams import Stream
from services.kernel.settings import SERVICES
from services.kernel.telemetry import get_logger
from services.serving.routes import is_upload, owner_of
from services.serving.settings import ServingSettings

log = get_logger(__name__)

HOP_BY_HOP = frozenset(
    (
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade", b"host", b"expect"),
    )
)
"""Headers of one connection (RFC 9110, 7.6.1); they are not passed on."""

OTHERS = tuple(service for service in SERVICES if service != "serving")
_CONNECT_SECONDS = 2.0
_HEALTH_SECONDS = 2.0


class OwnerDown(Unavailable):
    """The service that owns the path does not answer."""

    code = "service-down"


class AnswerCut(Unavailable):
    """The service that owns the path ended its answer too early."""

    code = "answer-cut"


class Gateway:
    """A part of the service. Connections to the owners are pooled."""

    def __init__(self, settings: ServingSettings) -> None:
        self._settings = settings
        self._stopping = asyncio.Event()
        self._internal_key = settings.internal_key.get_secret_value() if settings.internal_key else None
        self._client = httpx.AsyncClient(
            timeout=httpx.Timeout(settings.serving_gateway_timeout_seconds, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=200, max_keepalive_connections=50, keepalive_expiry=30.0),
            follow_redirects=False,
            trust_env=False,
        )

    async def start(self) -> None:
        """Nothing connects before a request needs it."""

    async def stop(self) -> None:
        """Close the pooled connections."""
        await self._client.aclose()

    async def forward(self, request: Request) -> Response:
        """The owner's answer. Raises `NotFound`, `InvalidInput` (the path) and `OwnerDown`."""
        raw_path = request.scope["raw_path"].decode("latin-1")
        service = owner_of(raw_path)
        if service == "serving":  # a route of our own came here by a method that it does not take
            raise NotFound(f"nothing is at {raw_path[:200]}")
        query = request.scope["query_string"].decode("latin-1")
        target = raw_path + (f"?{query}" if query else "")
        url = self._settings.url_of(service) + target
        if is_upload(request.method, raw_path):  # they do not pass through the data plane
            public = self._settings.registry_public_url
            return RedirectResponse(url if public is None else public.rstrip("/") + target, status_code=307)
        outgoing = self._client.build_request(
            request.method,
            url,
            headers=_passed_on(request.headers.raw),
            content=request.stream() if _has_body(request.headers) else None,
            timeout=self._timeout(raw_path),
        )
        try:
            answer = await self._client.send(outgoing, stream=True)
        except httpx.TransportError as error:
            raise self._down(service, error) from error
        body = _body(answer, service)
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            body = self._until_stopping(body)
        response = Stream(body, status_code=answer.status_code)
        response.raw_headers = _passed_on(answer.headers.raw)
        return response

    def begin_stop(self) -> None:
        """End the event streams, which would hold the process up for ever."""
        self._stopping.set()

    async def _until_stopping(self, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        stopping = asyncio.ensure_future(self._stopping.wait())
        try:
            while True:
                chunk = asyncio.ensure_future(anext(body, None))
                await asyncio.wait([chunk, stopping], return_when=asyncio.FIRST_COMPLETED)
                if not chunk.done():
                    chunk.cancel()
                    await asyncio.wait([chunk])
                    return
                if (data := chunk.result()) is None:
                    return
                yield data
        finally:
            stopping.cancel()

    async def fetch(self, service: str, path: str) -> httpx.Response | None:
        """A small document of another service, with our own key; None when it does not answer."""
        headers = {"authorization": f"Bearer {self._internal_key}"} if self._internal_key else {}
        try:
            return await self._client.get(
                self._settings.url_of(service) + path, headers=headers, timeout=_HEALTH_SECONDS
            )
        except httpx.TransportError:
            return None

    async def fetch_local(self, port: int, path: str) -> str | None:
        """A small page of another worker of this host, with our own key; None when it does not answer with one."""
        headers = {"host": urlsplit(self._settings.url_of("serving")).netloc}
        if self._internal_key:
            headers["authorization"] = f"Bearer {self._internal_key}"
        try:
            answer = await self._client.get(f"http://127.0.0.1:{port}{path}", headers=headers, timeout=_HEALTH_SECONDS)
        except httpx.TransportError:
            return None
        return answer.text if answer.status_code == 200 else None

    def _timeout(self, path: str) -> httpx.Timeout | None:
        if path == "/mlops/events":  # an event stream may be silent for long
            return httpx.Timeout(None, connect=_CONNECT_SECONDS)
        return httpx.Timeout(self._settings.serving_gateway_timeout_seconds, connect=_CONNECT_SECONDS)

    def _down(self, service: str, error: httpx.TransportError) -> OwnerDown:
        log.warning("owner_down", owner=service, error=repr(error))
        return OwnerDown(f"the {service} service does not answer: it may be starting or down; try again", owner=service)


def _has_body(headers: Mapping[str, str]) -> bool:
    return headers.get("content-length", "0") != "0" or "transfer-encoding" in headers


def _passed_on(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of the whole way, their values byte for byte: HTTP does not say what text they are."""
    lower = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in lower if name == b"connection" for part in value.split(b",")}
    return [(name, value) for name, value in lower if name not in HOP_BY_HOP | named]


async def _body(answer: httpx.Response, service: str) -> AsyncIterator[bytes]:
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.TransportError as error:
        raise AnswerCut(f"the answer of {service} broke off: {error!r}") from error
    finally:
        await answer.aclose()
