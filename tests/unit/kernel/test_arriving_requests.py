"""Requests that arrive slowly, endlessly or not at all, over a real socket."""

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from services.kernel.http.protocol import WHOLE, protocol_within
from tests.waiting import until

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n"
PATIENCE_SECONDS = 0.5


async def sizing(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with `done` once the body is there, all of it."""
    message = await receive()
    body = message.get("body", b"")
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.request":
        assert len(body) == next(
            (int(value) for name, value in scope["headers"] if name == b"content-length"), len(body)
        )
        await send({"type": WHOLE, "head": HEAD, "body": b"done", "close": False})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server with little patience."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    protocol = protocol_within(head_bytes=10_000, patience_seconds=PATIENCE_SECONDS, least_bytes_per_second=100_000)
    config = uvicorn.Config(sizing, http=protocol, log_config=None, access_log=False, lifespan="off")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))

    async def started() -> bool:
        return server.started

    await until(started, 10, "the server has started")
    yield int(listener.getsockname()[1])
    server.should_exit = True
    await serving


async def answer_to(port: int, *pieces: bytes, pause: float = 0.0, repeat: bytes = b"") -> bytes:
    """What comes back until the server closes, to `pieces` and then `repeat` again and again, one at a `pause`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for piece in pieces:
        writer.write(piece)
        await writer.drain()

    async def go_on() -> None:
        while repeat:
            await asyncio.sleep(pause)
            writer.write(repeat)
            await writer.drain()

    going_on = asyncio.create_task(go_on())
    try:
        return await asyncio.wait_for(reader.read(-1), 20)
    except ConnectionResetError:
        return b""
    finally:
        going_on.cancel()
        await asyncio.gather(going_on, return_exceptions=True)
        writer.close()


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "begun",
    [
        b"POST /",
        POST,
        POST + b"X-Slow: ",
        POST + b"Content-Length: 1000\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\n",
        POST + b"Content-Length: 4\r\n\r\nbody" + POST,
    ],
)
async def test_a_byte_now_and_then_is_cut_off(port: int, begun: bytes) -> None:
    chunk = b"1\r\nx\r\n" if b"chunked" in begun else b"x"
    found = await answer_to(port, begun, pause=0.05, repeat=chunk)
    assert b"HTTP/1.1 408" in found or not found
    assert (b"done" in found) == (b"body" in begun)


async def test_who_says_nothing_is_cut_off(port: int) -> None:
    assert await answer_to(port) == b""


async def test_headers_without_end_are_431(port: int) -> None:
    found = await answer_to(port, POST, repeat=b"X-More: " + b"y" * 4000 + b"\r\n")
    assert found.startswith(b"HTTP/1.1 431") or not found
    found = await answer_to(port, POST + b"X-Long: ", repeat=b"y" * 4000)
    assert found.startswith(b"HTTP/1.1 431") or not found


async def test_a_body_that_comes_fast_enough_may_take_longer_than_the_patience(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(POST + b"Content-Length: 400000\r\n\r\n")
    for _ in range(40):
        writer.write(b"x" * 10_000)
        await writer.drain()
        await asyncio.sleep(0.02)
    assert b"done" in await asyncio.wait_for(reader.readuntil(b"done"), 10)
    writer.close()


async def test_pieces_that_arrive_in_time_are_requests_like_others(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for _ in range(3):
        for byte in POST + b"Content-Length: 2\r\n\r\nhi":
            writer.write(bytes([byte]))
            await writer.drain()
        await asyncio.wait_for(reader.readuntil(b"done"), 10)
    large = POST + b"Content-Length: 100000\r\n\r\n" + b"x" * 100_000
    writer.write(large[:-1] + large[-1:] + POST)
    await asyncio.wait_for(reader.readuntil(b"done"), 10)
    writer.write(b"Content-Length: 0\r\n\r\n")
    await asyncio.wait_for(reader.readuntil(b"done"), 10)
    writer.close()


H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"


@pytest.mark.parametrize("byte_by_byte", [False, True])
async def test_who_offers_another_protocol_is_answered_in_this_one(port: int, byte_by_byte: bool) -> None:
    """As Java's client does; with bodies of every framing, one request behind the other."""
    bodies = [b"Content-Length: 2\r\n\r\nhi", CHUNKED, b"Content-Length: 0\r\n\r\n", b"\r\n"]
    requests = b"".join(POST + H2C + body for body in bodies) + POST + b"Content-Length: 2\r\n\r\nhi"
    last = POST + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi"
    pieces = [bytes([byte]) for byte in requests] if byte_by_byte else [requests]
    assert (await answer_to(port, *pieces, last)).count(b"done") == len(bodies) + 2
