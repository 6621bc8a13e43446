"""The merged metrics page where the services want a key."""

import asyncio

import httpx
import pytest

from trimtab.local.metrics import MetricsServer
from trimtab.local.ports import LOOPBACK, free_ports

KEY = b"authorization: bearer secret"


async def guarded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A process that shows its metrics to one key."""
    request = (await reader.readuntil(b"\r\n\r\n")).lower()
    status, body = (b"200 OK", b"rows 7\n") if KEY in request else (b"401 Unauthorized", b"{}")
    writer.write(b"HTTP/1.1 %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%s" % (status, len(body), body))
    await writer.drain()
    writer.close()


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"Authorization": "Bearer secret"}, 200)])
async def test_the_page_asks_for_what_the_services_ask_for(headers: dict[str, str], status: int) -> None:
    port, service_port = free_ports(2)
    service = await asyncio.start_server(guarded, LOOPBACK, service_port)
    server = MetricsServer({"loop": f"http://{LOOPBACK}:{service_port}"}, host=LOOPBACK, port=port)
    await server.start()
    try:
        async with httpx.AsyncClient(trust_env=False, headers=headers) as client:
            answer = await client.get(f"http://{LOOPBACK}:{port}/metrics")
    finally:
        await server.stop()
        service.close()
        await service.wait_closed()
    assert answer.status_code == status
    assert ('rows{service="loop"} 7.0' in answer.text) is (status == 200)
