"""What every request passes first: Host and Origin, the body's size and kind, and headers that browsers obey."""

from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.kernel import causation
from services.kernel.errors import TooLarge, TrimtabError, UnsupportedMedia
from services.kernel.http.problems import problem, problem_of, status_of
from services.kernel.settings import SERVICES, Settings
from services.kernel.telemetry import context_of, tracer

READABLE = ("application/json", "application/problem+json", "multipart/form-data", "application/x-tar")
OCTETS = "application/octet-stream"
"""Raw bytes: read by handlers that stream their bodies, by no other."""
SAFE = ("GET", "HEAD", "OPTIONS")
UNTRACED = ("/healthz", "/readyz", "/metrics")


def allowed_hosts(settings: Settings) -> frozenset[str]:
    """Host names that are answered, without ports; `*` stands for any."""
    names = {name.strip().lower() for name in settings.allowed_hosts.split(",") if name.strip()}
    names |= {(urlsplit(settings.url_of(service)).hostname or "").lower() for service in SERVICES}
    return frozenset(names - {""})


class Guard:
    """ASGI middleware. `unbounded` are paths (prefixes, if they end with `/`) whose handlers bound their bodies."""

    def __init__(self, app: ASGIApp, settings: Settings, unbounded: tuple[str, ...] = ()) -> None:
        self._app = app
        self._hosts = allowed_hosts(settings)
        self._max_bytes = settings.max_body_bytes
        self._unbounded = unbounded

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer at once what may not pass, else hand over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        unbounded = self._is_unbounded(scope["path"])
        refusal = self._refusal(scope["method"], headers, unbounded)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        body = receive if unbounded else self._bounded(receive)
        try:
            with _traced(scope, headers), causation.because_of(causation.from_header(headers.get(causation.HEADER))):
                await self._app(scope, body, _with_headers(send))
        except _BodyTooLarge:
            await problem_of(self._too_large())(scope, receive, send)

    def _is_unbounded(self, path: str) -> bool:
        return any(path.startswith(item) if item.endswith("/") else path == item for item in self._unbounded)

    def _refusal(self, method: str, headers: Headers, unbounded: bool) -> ASGIApp | None:
        host = _host_name(headers.get("host", ""))
        if "*" not in self._hosts and host not in self._hosts:
            return problem(
                400,
                "unknown-host",
                "Unknown Host",
                f"this server does not answer for {host!r}: see TRIMTAB_ALLOWED_HOSTS",
            )
        origin = headers.get("origin")
        if origin and method not in SAFE and _host_of_origin(origin) not in self._hosts:
            return problem(403, "foreign-origin", "Foreign Origin", f"pages of {origin} may not change anything here")
        try:
            self._check_body(headers, unbounded)
        except TrimtabError as error:
            return problem_of(error)
        return None

    def _check_body(self, headers: Headers, unbounded: bool) -> None:
        kind = headers.get("content-type", "application/json").lower()
        length = headers.get("content-length", "0")
        has_body = length != "0" or "transfer-encoding" in headers
        if not unbounded and length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()
        if has_body and not kind.startswith((*READABLE, OCTETS) if unbounded else READABLE):
            wanted = f"{OCTETS} for the bytes of a file, application/json for a document" if unbounded else READABLE[0]
            raise UnsupportedMedia(f"the content type {kind!r} is never read here: send {wanted}")
        if has_body and headers.get("content-encoding", "identity").lower() != "identity":
            raise UnsupportedMedia("compressed bodies are not read here: send the body as it is")

    def _bounded(self, receive: Receive) -> Receive:
        seen = 0

        async def bounded() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._max_bytes:
                    raise _BodyTooLarge(self._too_large())
            return message

        return bounded

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is over {self._max_bytes} bytes: see TRIMTAB_MAX_BODY_BYTES")


class _BodyTooLarge(HTTPException):
    """Unwinds the application when the body passes the limit. An HTTPException, since FastAPI hides others as 400."""

    def __init__(self, error: TooLarge) -> None:
        super().__init__(status_of(error), error.detail)


def _traced(scope: Scope, headers: Headers) -> AbstractContextManager[object]:
    """A span that goes on with the caller's trace; none for what orchestrators ask all the time."""
    if scope["path"] in UNTRACED:
        return nullcontext()
    return tracer().start_as_current_span(
        f"HTTP {scope['method']}",
        context=context_of(headers.get("traceparent")),
        attributes={"url.path": scope["path"]},
    )


def _host_of_origin(origin: str) -> str:
    return _host_name(origin.partition("://")[2].partition("/")[0])


def _host_name(netloc: str) -> str:
    netloc = netloc.rpartition("@")[2].lower()
    if netloc.startswith("["):
        return netloc.partition("]")[0] + "]"
    return netloc.partition(":")[0]


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("X-Frame-Options", "DENY")
            headers.setdefault("Referrer-Policy", "no-referrer")
            message["headers"] = headers.raw
        await send(message)

    return send_with_headers
