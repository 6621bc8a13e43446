"""HTTP/1.1 with answers that leave in one piece.

ASGI sends a head and then a body, and uvicorn writes each to the socket when it comes: two system calls, two packets
and two wake-ups of the client for an answer of some hundred bytes. An application that has its whole answer at once may
say so with one message of the type `WHOLE` where the scope's extensions offer it.
"""

from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

WHOLE = "trimtab.http.response"
"""The ASGI extension, and the type of its message: `head` holds the status line and every header but `connection`, each
with its line end, `body` the bytes that the head's content-length counts, `close` whether this is the connection's last
answer."""

_OFFER: dict[str, Any] = {WHOLE: {}}


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
    """uvicorn's protocol over httptools; its cycles take `WHOLE`."""

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.__class__ = WholeCycle  # uvicorn offers no place to name the class, and nothing of it has run yet
        cycle.scope["extensions"] = _OFFER
        super()._start_asgi_task(cycle, app)
