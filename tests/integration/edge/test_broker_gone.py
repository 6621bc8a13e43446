"""Kafka goes away while devices forward: they keep everything, and nothing counts twice once it is back."""

import asyncio
import json

import httpx
import pytest

from tests.integration.edge.conftest import Site
from tests.integration.edge.test_edge import Devices, counted, edge_batches, rows
from tests.integration.edge.test_gateway import post, upload
from tests.integration.serving.test_broker_gone import broker as broker
from tests.integration.serving.test_broker_gone import kafka_is
from tests.integration.serving.test_broker_gone import topic_prefix as topic_prefix
from tests.waiting import until
from trimtab.local.broker import LocalBroker


@pytest.mark.timeout(300)  # a broker of its own starts, stops and starts again
async def test_the_device_keeps_what_kafka_does_not_take(
    broker: LocalBroker, site: Site, client: httpx.AsyncClient, make_device: Devices
) -> None:
    site.replica.kill()
    site.replica = site.cluster.start(
        TRIMTAB_REGISTRY_URL=site.registry.url,
        TRIMTAB_SERVING_EDGE_WAIT_SECONDS="0.5",
        TRIMTAB_SERVING_EDGE_WAITING_BYTES="200000",
    )
    await site.replica.ready(client)
    device = make_device(site.bundle)
    text = "\n".join(json.dumps(row) for row in rows(300))
    await asyncio.to_thread(device.run, "predict", "--file", "-", stdin=text)
    assert (await post(client, site, upload(site))).status_code == 200
    await asyncio.to_thread(broker.stop)
    await kafka_is("down", client, site.replica)
    gone = await asyncio.to_thread(device.run, "forward", "--to", site.replica.url)
    assert (gone.returncode, "503" in gone.stderr) == (75, True), gone.stderr
    assert (await asyncio.to_thread(device.answer, "status"))["lives"][0]["waiting_rows"] == 300
    for first in range(10, 20_000, 500):  # what waits in the gateway is bounded
        answer = await post(client, site, upload(site, first=first, count=500))
        assert answer.status_code == 503
        assert int(answer.headers["retry-after"]) >= 1
        if answer.json()["code"] == "overloaded":
            break
    assert answer.json()["code"] == "overloaded"
    device.watch(site.replica.url)
    await asyncio.to_thread(broker.start)

    async def drained() -> bool:
        return all(not life["waiting_rows"] for life in (await asyncio.to_thread(device.answer, "status"))["lives"])

    await until(drained, 90, "the device has handed everything over")
    found, _, _ = counted([b for b in await edge_batches(site) if b.replica == "edge.gate-7"])
    of_device = [number for incarnation, number in found if not incarnation.endswith("0" * 16)]
    assert of_device == list(range(300))
