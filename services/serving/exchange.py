"""One HTTP request and its answer on the hot path: raw ASGI, no framework.

What `services.kernel.http.guard` checks for the control plane is checked here for the data plane, in one pass over the
headers: Host, Origin, the body's kind, size and coding.
"""

import asyncio
import math
from collections.abc import Callable, Coroutine, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, TypeVar

from starlette.types import Receive, Scope, Send

from services.kernel.errors import (
    Forbidden,
    Overloaded,
    TooLarge,
    TrimtabError,
    Unavailable,
    Undecodable,
    UnsupportedMedia,
)
from services.kernel.http.guard import allowed_hosts
from services.kernel.http.problems import PROBLEM_JSON, MethodNotAllowed, status_of
from services.kernel.http.protocol import WHOLE
from services.kernel.settings import Settings
from services.serving.compression import (
    INLINE_BYTES,
    Decompressor,
    UnsupportedCoding,
    coding_of,
    compressed,
    wished_coding,
)

T = TypeVar("T")

JSON = b"application/json"
OCTETS = b"application/octet-stream"

LARGE_BODY_BYTES = 256 << 10
"""A body larger than this is read in a thread: decoding it would hold the event loop for milliseconds."""

Headers = list[tuple[bytes, bytes]]
Encode = Callable[[int, TrimtabError], tuple[int, bytes, bytes]]
"""(HTTP status, error) -> status, media type and body of the answer."""

_SAFETY: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
]
_CLOSE = (b"connection", b"close")
_NO_EXTENSIONS: Mapping[str, Any] = {}


class HungUp(Exception):
    """The client is gone; there is nobody to answer."""


class TimedOut(Unavailable):
    """The answer took longer than the request allowed."""

    code = "timed-out"


class Gate:
    """What may pass. `draining` makes every answer end its connection.

    `compress_bytes`, `compress_listed`: see the settings of the same names.
    """

    def __init__(self, settings: Settings, *, compress_bytes: int = 1024, compress_listed: bool = False) -> None:
        self.hosts = allowed_hosts(settings)
        self.max_body_bytes = settings.max_body_bytes
        self.compress_bytes = compress_bytes
        self.compress_listed = compress_listed
        self.draining = False
        self._known_hosts: set[bytes] = set()

    def host_passes(self, value: bytes) -> bool:
        """Whether the Host header names this server. What passed once is remembered, a bounded number of them."""
        if value in self._known_hosts:
            return True
        if "*" in self.hosts or _host_name(value) in self.hosts:
            if len(self._known_hosts) < 100:
                self._known_hosts.add(value)
            return True
        return False


class Exchange:
    """A request being answered. Headers that matter here are attributes; absent ones are None."""

    __slots__ = (
        "_accept_encoding",
        "_content_coding",
        "_gate",
        "_receive",
        "_send",
        "after",
        "authorization",
        "binary_header_length",
        "content_length",
        "scope",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send, gate: Gate) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._gate = gate
        self.authorization: str | None = None
        self.binary_header_length: bytes | None = None
        self.content_length = 0
        self.after: Callable[[], None] | None = None
        """Called once the answer has left."""
        self._accept_encoding: bytes | None = None
        self._content_coding: bytes | None = None

    @property
    def method(self) -> str:
        """The HTTP method."""
        return str(self.scope["method"])

    def check(self, *, any_content: bool = False) -> None:
        """Read the headers. Raises `BadHost`, `Forbidden` (Origin), `UnsupportedMedia`, `TooLarge`.

        `any_content`: the Content-Type says nothing here (protocol V2: clients send none, or octet-stream).
        """
        host = False
        for name, value in self.scope["headers"]:
            if name == b"host":
                host = self._gate.host_passes(value)
            elif name == b"content-type":
                if not (any_content or value.startswith(JSON)):
                    kind = value[:100].decode("latin-1")
                    raise UnsupportedMedia(f"the content type {kind!r} is never read here: send application/json")
            elif name == b"content-length":
                self.content_length = int(value) if value.isdigit() else 0
                if self.content_length > self._gate.max_body_bytes:
                    raise self._too_large()
            elif name == b"authorization":
                self.authorization = value.decode("latin-1")
            elif name == b"inference-header-content-length":
                self.binary_header_length = value
            elif name == b"accept-encoding":
                self._accept_encoding = value
            elif name == b"content-encoding":
                if self._content_coding is not None:
                    raise UnsupportedCoding("a body that was compressed twice is not read")
                self._content_coding = coding_of(value)
            elif name == b"origin" and _host_of_origin(value) not in self._gate.hosts:
                raise Forbidden(f"pages of {value[:200].decode('latin-1')} may not ask here")
        if not host:
            raise BadHost("this server does not answer for the Host that the request names: see TRIMTAB_ALLOWED_HOSTS")

    @property
    def alone(self) -> bool:
        """Whether this is the only request under way in the process, as far as the server tells."""
        whole = self.scope.get("extensions", _NO_EXTENSIONS).get(WHOLE)
        return whole is not None and len(whole["requests"]) == 1

    def header(self, name: str) -> str | None:
        """Any request header, by its name."""
        wanted = name.lower().encode("latin-1", "replace")
        return next((v.decode("latin-1") for k, v in self.scope["headers"] if k == wanted), None)

    async def body(self) -> bytes:
        """The whole body, decompressed. Raises `TooLarge` as soon as it is too large, `BadCompression`, `HungUp`."""
        message = await self._receive()
        if message["type"] != "http.request":
            raise HungUp
        body: bytes = message.get("body", b"")
        if len(body) > self._gate.max_body_bytes:  # its length was not said
            raise self._too_large()
        if not message.get("more_body", False):
            return body if self._content_coding is None else await self._decompressed(body, self._content_coding)
        chunks, size = [body], len(body)
        while message.get("more_body", False):
            message = await self._receive()
            if message["type"] != "http.request":
                raise HungUp
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._gate.max_body_bytes:
                raise self._too_large()
        body = b"".join(chunks)
        return body if self._content_coding is None else await self._decompressed(body, self._content_coding)

    async def _decompressed(self, body: bytes, coding: bytes) -> bytes:
        if not body:
            return body  # nothing was sent, hence nothing was compressed
        decompressor = Decompressor(body, coding, self._gate.max_body_bytes)
        plain = decompressor.first()
        return plain if plain is not None else await asyncio.to_thread(decompressor.rest)

    async def wait(self, future: "asyncio.Future[T]", *, watched: bool, timeout_seconds: float | None = None) -> T:
        """The answer. `watched`: a client that hangs up meanwhile leaves the queue.

        Raises `HungUp`, `TimedOut` and whatever the future raises. In all cases the future is done afterwards.
        """
        if timeout_seconds is None:
            return await (self._watched(future) if watched else future)
        timer = asyncio.get_running_loop().call_later(timeout_seconds, _expire, future, timeout_seconds)
        try:
            return await (self._watched(future) if watched else future)
        finally:
            timer.cancel()

    async def _watched(self, future: "asyncio.Future[T]") -> T:
        gone: asyncio.Future[Any] = asyncio.ensure_future(self._receive())
        both: list[asyncio.Future[Any]] = [future, gone]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if future.done():
                return future.result()
            raise HungUp
        finally:
            gone.cancel()
            future.cancel()

    async def answer(self, body: bytes, *, status: int = 200, kind: bytes = JSON, extra: Headers | None = None) -> None:
        """Send the answer."""
        if WHOLE in self.scope.get("extensions", _NO_EXTENSIONS):
            close = self._gate.draining or (extra is not None and _CLOSE in extra)
            head = b"%s%d\r\n" % (_head(status, kind), len(body))
            if extra:
                head += b"".join(b"%s: %s\r\n" % header for header in extra if header != _CLOSE)
            await self._send({"type": WHOLE, "head": head, "body": body, "close": close})
            return
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *_SAFETY]
        if extra:
            headers += extra
        if self._gate.draining:
            headers.append(_CLOSE)
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})

    def answer_compressed(
        self, body: bytes, *, kind: bytes = JSON, extra: Headers | None = None
    ) -> Coroutine[Any, Any, None]:
        """Send the answer, in the coding that the client asks for if it asks and the answer is worth it.

        For predictions alone: tritonclient's asyncio client sends a library's Accept-Encoding with every request, and
        reads everything but predictions as it comes.
        """
        if self._accept_encoding is not None and len(body) >= self._gate.compress_bytes:
            coding = wished_coding(self._accept_encoding, listed=self._gate.compress_listed)
            if coding is not None:
                return self._answer_in(coding, body, kind, extra)
        return self.answer(body, kind=kind, extra=extra)

    async def _answer_in(self, coding: bytes, body: bytes, kind: bytes, extra: Headers | None) -> None:
        packed = (
            await asyncio.to_thread(compressed, body, coding) if len(body) > INLINE_BYTES else compressed(body, coding)
        )
        if len(packed) < len(body):
            body = packed
            extra = [*(extra or ()), (b"content-encoding", coding), (b"vary", b"accept-encoding")]
        await self.answer(body, kind=kind, extra=extra)

    async def refuse(self, error: TrimtabError, encode: Encode) -> None:
        """Answer with an error; `encode` gives its status, media type and body."""
        status, kind, body = encode(status_of(error), error)
        extra: Headers = []
        if status == 503:
            seconds = error.retry_after_seconds if isinstance(error, Overloaded) else 2.0
            extra.append((b"retry-after", str(max(1, math.ceil(seconds))).encode()))
        elif status == 401:
            extra.append((b"www-authenticate", b"Bearer"))
        elif isinstance(error, UnsupportedCoding):
            extra.append((b"accept-encoding", b"gzip, deflate"))
        elif isinstance(error, MethodNotAllowed):
            extra.append((b"allow", error.allow.encode()))
        elif status == 413:
            extra.append(_CLOSE)  # the rest of the body is not read
        await self.answer(body, status=status, kind=kind, extra=extra)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is over {self._gate.max_body_bytes} bytes: see TRIMTAB_MAX_BODY_BYTES")


@cache
def _head(status: int, kind: bytes) -> bytes:
    """The head of an answer up to the value of its content-length."""
    lines = [b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()), b"content-type: " + kind]
    lines += [b"%s: %s" % header for header in _SAFETY]
    return b"\r\n".join([*lines, b"content-length: "])


class BadHost(Undecodable):
    """The Host header names another server."""

    code = "unknown-host"


def _expire(future: "asyncio.Future[Any]", seconds: float) -> None:
    if not future.done():
        future.set_exception(TimedOut(f"no answer within {seconds:.4g} s"))


def _host_of_origin(origin: bytes) -> str:
    return _host_name(origin.partition(b"://")[2].partition(b"/")[0])


def _host_name(netloc: bytes) -> str:
    text = netloc.decode("latin-1").rpartition("@")[2].lower()
    return text.partition("]")[0] + "]" if text.startswith("[") else text.partition(":")[0]


PROBLEM = PROBLEM_JSON.encode()
