"""Answers that leave in one piece, over a real socket."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from services.kernel.http.protocol import WHOLE, WholeProtocol
from tests.waiting import until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n"


async def answering(scope: Scope, receive: Receive, send: Send) -> None:
    """`/whole` in one message, `/last` as well and then no more, `/twice` wrongly, everything else as ASGI has it."""
    path = scope["path"]
    if path == "/plain":
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": b"plain"})
        return
    assert WHOLE in scope["extensions"]
    await send({"type": WHOLE, "head": HEAD, "body": b"whole", "close": path == "/last"})
    if path == "/twice":
        await send({"type": WHOLE, "head": HEAD, "body": b"again", "close": False})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server with the protocol."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(answering, http=WholeProtocol, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def started() -> bool:
        return server.started

    await until(started, 10, "the server has started")
    yield int(listener.getsockname()[1])
    server.should_exit = True
    await serving


async def exchange(port: int, requests: bytes) -> bytes:
    """Everything that comes back until the server closes, or says nothing more for the last request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(requests)
    found = await asyncio.wait_for(reader.read(-1), 10)
    writer.close()
    return found


def request(path: str, method: str = "GET", *, close: bool = False) -> bytes:
    """One request."""
    end = "Connection: close\r\n" if close else ""
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{end}\r\n".encode()


async def test_pipelined_answers_come_in_order(port: int) -> None:
    asked = request("/whole") + request("/plain") + request("/whole", close=True)
    found = await exchange(port, asked)
    assert re.findall(rb"\r\n\r\n(whole|plain)", found) == [b"whole", b"plain", b"whole"]
    assert found.count(b"HTTP/1.1 200 OK") == 3
    assert found.endswith(b"connection: close\r\n\r\nwhole")
    assert found.count(b"connection: close") == 1


async def test_the_application_may_end_the_connection(port: int) -> None:
    found = await exchange(port, request("/last") + request("/whole"))
    assert found == HEAD + b"connection: close\r\n\r\nwhole"


async def test_an_answer_to_head_has_no_body(port: int) -> None:
    found = await exchange(port, request("/whole", "HEAD", close=True))
    assert found == HEAD + b"connection: close\r\n\r\n"


async def test_two_answers_to_one_request_end_the_connection(port: int) -> None:
    found = await exchange(port, request("/twice"))
    assert found == HEAD + b"\r\nwhole"


async def test_a_client_that_left_is_not_written_to(port: int) -> None:
    for _ in range(50):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request("/whole"))
        writer.transport.abort()
    assert (await exchange(port, request("/whole", close=True))).endswith(b"whole")
