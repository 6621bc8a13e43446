"""A client that closes its socket leaves the queue before its turn: over real sockets and the real server."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
import uvicorn

from services.kernel.http.protocol import WholeProtocol
from tests.serving_models import VECTOR
from tests.unit.serving.conftest import Plane
from tests.unit.serving.scripted import Scripted
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("settled")


@dataclass
class Site:
    """A data plane behind a port."""

    plane: Plane
    port: int
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def connect(self, *firsts: float) -> "tuple[asyncio.StreamReader, asyncio.StreamWriter]":
        """A connection on which predictions were asked for, one behind the other."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writers.append(writer)
        head = f"POST /mlops/predict HTTP/1.1\r\nhost: 127.0.0.1:{self.port}\r\ncontent-type: application/json\r\n"
        for first in firsts:
            body = json.dumps({"modelId": "m", "input": {"x": [first, 2, 3, 4]}}).encode()
            writer.write(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        return reader, writer


@pytest.fixture
async def site(plane: Plane) -> AsyncIterator[Site]:
    """The plane, served by what serves it in production."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(plane.app, http=WholeProtocol, lifespan="off", log_config=None, ws="none")
    server = uvicorn.Server(config)
    task = asyncio.ensure_future(server.serve([listener]))
    await until(lambda: server.started)
    site = Site(plane, listener.getsockname()[1])
    yield site
    for writer in site.writers:
        writer.close()
    server.should_exit = True
    await task


@pytest.mark.parametrize("behind", [(), (9,)], ids=["alone", "another-behind-it"])
@pytest.mark.parametrize("abort", [False, True], ids=["closed", "reset"])
async def test_a_client_that_is_gone_is_dropped_before_it_runs(
    site: Site, abort: bool, behind: tuple[float, ...]
) -> None:
    runtime = Scripted()
    served = site.plane.deploy("m", {"1.0.0": (VECTOR, runtime)}).versions["1.0.0"]
    served.batcher.learn(1, 1.0)
    runtime.gate.clear()
    first, _ = await site.connect(1)
    await until(lambda: served.batcher.busy, what="the first run")
    _, leaving = await site.connect(2, *behind)
    await until(lambda: served.batcher.queued_rows == 1)
    staying, _ = await site.connect(3)
    await until(lambda: served.batcher.queued_rows == 2)
    waiting = served.batcher.queue._lines[1][0]
    if abort:
        leaving.transport.abort()
    else:
        leaving.close()
    await until(waiting.future.cancelled, what="that the server sees it")
    runtime.gate.set()
    for reader in (first, staying):
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert runtime.ran == [1.0, 3.0]
    assert served.batcher.queue.dropped == 1
    await site.plane.shipper.stop(5)
    rows = [row for batch in site.plane.batches if batch.model_id == "m" for row in batch.rows.to_pylist()]
    assert [row["x:x"][0] for row in rows] == [1.0, 3.0]


async def test_whoever_hung_up_makes_room_in_a_full_queue(site: Site) -> None:
    runtime = Scripted()
    served = site.plane.deploy("m", {"1.0.0": (VECTOR, runtime)}).versions["1.0.0"]
    served.batcher.learn(1, 1.0)
    served.batcher.limits = type(served.batcher.limits)(queue_rows=1)
    runtime.gate.clear()
    await site.connect(1)
    await until(lambda: served.batcher.busy)
    _, leaving = await site.connect(2)
    await until(lambda: served.batcher.queued_rows == 1)
    waiting = served.batcher.queue._lines[1][0]
    refused, _ = await site.connect(3)
    head = await refused.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: " in head.lower()
    leaving.close()
    await until(waiting.future.cancelled)
    taken, _ = await site.connect(4)
    await until(lambda: served.batcher.queue.dropped == 1)
    runtime.gate.set()
    assert (await taken.readline()).startswith(b"HTTP/1.1 200")
    assert runtime.ran == [1.0, 4.0]
