"""HTTP/1.1 with answers that leave in one piece.

ASGI sends a head and then a body, and uvicorn writes each to the socket when it comes: two system calls, two packets
and two wake-ups of the client for an answer of some hundred bytes. An application that has its whole answer at once may
say so with one message of the type `WHOLE` where the scope's extensions offer it.

And requests that arrive in bounded time and room: who sends a byte now and then, or headers without end, holds a
connection for `patience_seconds` (longer as the bytes come in at `least_bytes_per_second`), and is cut off.

And requests that offer to go on in another protocol, as Java's HTTP client does with every first one (`Upgrade: h2c`):
they are answered in HTTP/1.1, as RFC 9110 (section 7.8) has it. The parser takes what follows such a head, the body
included, for the other protocol.
"""

import asyncio
from typing import Any

import httptools
from prometheus_client import Counter
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

WHOLE = "trimtab.http.response"
"""The ASGI extension, and the type of its message: `head` holds the status line and every header but `connection`, each
with its line end, `body` the bytes that the head's content-length counts, `close` whether this is the connection's last
answer. The scope's extension has `requests`: all requests of the server that are under way, this one among them."""

CUT = Counter("http_connections_cut", "Connections closed while a request was arriving", ["reason"])

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

_FRAMING = (b"content-length", b"transfer-encoding")


class WholeCycle(RequestResponseCycle):
    """One request and its answer, which may come whole."""

    async def send(self, message: Any) -> None:
        """See ASGI; and `WHOLE`."""
        if message["type"] != WHOLE:
            await super().send(message)
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_started:
            raise RuntimeError("an answer was begun already")
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        if message["close"]:
            self.keep_alive = False
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        body = b"" if self.scope["method"] == "HEAD" else message["body"]
        self.transport.write(b"".join((message["head"], end, body)))
        self.message_event.set()
        if not self.keep_alive:
            self.transport.close()
        self.on_response()


class WholeProtocol(HttpToolsProtocol):
    """uvicorn's protocol over httptools; its cycles take `WHOLE`, and requests must arrive within bounds.

    A request that comes in one piece costs some comparisons; a timer runs only while one is incomplete.
    """

    head_bytes = 64 << 10
    """Longest request line with its headers, beside what one read of the socket brings."""
    patience_seconds = 30.0
    least_bytes_per_second = 1024.0

    _watch: asyncio.TimerHandle | None = None
    _arriving: object = None
    _since = 0.0
    _received = 0
    _answering: RequestResponseCycle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._offer: dict[str, Any] = {WHOLE: {"requests": self.tasks}}
        self.timeout_keep_alive_task = self.loop.call_later(self.patience_seconds, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`. uvicorn tells the newest request alone, which may still wait behind the one that is
        being answered."""
        self._unwatch()
        answering = self._answering
        if answering is not None and not answering.response_complete:
            answering.disconnected = True
            answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
            return
        cycle = self.cycle
        if cycle is None or self.scope is not cycle.scope or cycle.more_body:
            self._incomplete(len(data))
        elif self._watch is not None:
            self._unwatch()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as offered:
                data = data[offered.args[0] :]
                self._decline()

    def _decline(self) -> None:
        """Go on in HTTP/1.1 with the request whose head was read: its body is still to come, though the parser has told
        its end. A parser that was given the same framing stands before that body."""
        framing = [b"%s: %s\r\n" % header for header in self.headers if header[0] in _FRAMING]
        if framing:
            self.cycle.more_body = True
            self.parser = httptools.HttpRequestParser(_BehindHead(self))
            self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))

    def _incomplete(self, size: int) -> None:
        if self.transport.is_closing():
            return
        if self._watch is None or self.scope is not self._arriving:
            self._unwatch()
            self._arriving = self.scope
            self._since = self.loop.time()
            self._watch = self.loop.call_later(self.patience_seconds, self._look)
            return  # how much of this read belongs to the request is not known
        self._received += size
        if self._in_head and self._received > self.head_bytes:
            self._cut("head", _TOO_LARGE)

    @property
    def _in_head(self) -> bool:
        return self.cycle is None or self.scope is not self.cycle.scope

    def _look(self) -> None:
        """Is the request late? While we do not read, it is not the sender who is."""
        now = self.loop.time()
        if self.flow.read_paused:
            self._since = now
        left = self._since + self.patience_seconds + self._received / self.least_bytes_per_second - now
        if left <= 0:
            self._cut("slow", _TOO_SLOW)
        else:
            self._watch = self.loop.call_later(left, self._look)

    def _cut(self, reason: str, answer: bytes) -> None:
        CUT.labels(reason).inc()
        self._unwatch()
        cycle = self.cycle
        unanswered = cycle is None or cycle.response_complete if self._in_head else not cycle.response_started
        if unanswered:
            self.transport.write(answer)
        self.transport.close()

    def _unwatch(self) -> None:
        self._received = 0
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.__class__ = WholeCycle  # uvicorn offers no place to name the class, and nothing of it has run yet
        cycle.scope["extensions"] = self._offer
        self._answering = cycle
        super()._start_asgi_task(cycle, app)


class _BehindHead:
    """Hands on to `protocol` what its parser finds behind the first head."""

    def __init__(self, protocol: WholeProtocol) -> None:
        self._protocol = protocol
        self._behind = False
        self.on_body = protocol.on_body
        self.on_message_complete = protocol.on_message_complete

    def on_message_begin(self) -> None:
        """See `httptools`."""
        if self._behind:
            self._protocol.on_message_begin()

    def on_url(self, url: bytes) -> None:
        """See `httptools`."""
        if self._behind:
            self._protocol.on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See `httptools`."""
        if self._behind:
            self._protocol.on_header(name, value)

    def on_headers_complete(self) -> None:
        """See `httptools`."""
        if self._behind:
            self._protocol.on_headers_complete()
        self._behind = True


def protocol_within(*, head_bytes: int, patience_seconds: float, least_bytes_per_second: float) -> type[WholeProtocol]:
    """The protocol with other bounds; uvicorn makes an object of it for each connection."""
    bounds = {
        "head_bytes": head_bytes,
        "patience_seconds": patience_seconds,
        "least_bytes_per_second": least_bytes_per_second,
    }
    return type("BoundedProtocol", (WholeProtocol,), bounds)
