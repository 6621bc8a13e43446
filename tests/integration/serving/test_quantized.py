"""A real serving process that answers by a version's smaller graph."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime

from schemas.events import Route
from schemas.features import DType, Feature, Output, OutputRole, Signature
from schemas.serving_options import QuantizationReport, Quantized
from services.kernel.artifacts import blob_key
from services.kernel.storage import open_store
from services.registry.quantization.shrink import to_int8
from tests.integration.serving.conftest import Cluster, Replica
from tests.quantized import CLASSES, feed, network, rows
from tests.waiting import until

SIGNATURE = Signature(
    inputs=(Feature(name="duration", dtype=DType.FLOAT32), Feature(name="protocol", dtype=DType.STRING)),
    outputs=(Output(name="probabilities", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.PROBABILITIES),),
    classes=CLASSES,
)
ROWS = rows(8)


def own(path: Path) -> Path:
    path.write_bytes(network().SerializeToString())
    return path


def smaller(cluster: Cluster, route: Route, *, stored: bytes | None = None) -> Route:
    """The route by the int8 graph, which lies in the store, or other bytes in its place."""
    data = to_int8(network()).SerializeToString(deterministic=True)
    sha256 = hashlib.sha256(data).hexdigest()
    open_store(cluster.settings).put_bytes(blob_key(sha256), data if stored is None else stored)
    report = QuantizationReport(
        kind="int8",
        metric="disagreement",
        rows=8,
        loss=0,
        bound=0.01,
        max_difference=0.1,
        bytes_before=1,
        bytes_after=1,
        seconds_before=1,
        seconds_after=1,
    )
    graph = Quantized(kind="int8", sha256=sha256, size=len(data), report=report)
    return route.model_copy(update={"quantized": graph})


async def probabilities(client: httpx.AsyncClient, replica: Replica) -> list[list[float]]:
    inputs = [
        {"duration": float(duration), "protocol": protocol}
        for duration, protocol in zip(ROWS["duration"], ROWS["protocol"], strict=True)
    ]
    answer = await client.post(f"{replica.url}/mlops/predict/batch", json={"modelId": "m", "inputs": inputs})
    assert answer.status_code == 200, answer.text
    return [list(each["probabilities"].values()) for each in answer.json()["predictions"]]


def expected(graph: bytes) -> Any:
    return onnxruntime.InferenceSession(graph).run(None, feed(ROWS))[0]


async def test_the_graph_of_the_route_answers_and_is_reported(cluster: Cluster, client: httpx.AsyncClient) -> None:
    plain = cluster.publish("m", "1.0.0", SIGNATURE, own)
    route = smaller(cluster, plain)
    await cluster.want("m", route)
    replica = cluster.start()
    await replica.ready(client)
    eight_bits = expected(to_int8(network()).SerializeToString())
    assert np.abs(eight_bits - expected(network().SerializeToString())).max() > 1e-3
    np.testing.assert_allclose(await probabilities(client, replica), eight_bits, atol=1e-5)
    await until(lambda: any(one.state == "ready" for one in cluster.statuses[replica.name].versions))
    (loaded,) = cluster.statuses[replica.name].versions
    assert (loaded.version, loaded.quantized) == ("1.0.0", "int8")

    revision = await cluster.want("m", plain)
    await until(lambda: cluster.statuses[replica.name].converged.get("m") == revision)
    await until(lambda: all(one.state == "ready" for one in cluster.statuses[replica.name].versions))
    np.testing.assert_allclose(await probabilities(client, replica), expected(network().SerializeToString()), atol=1e-5)
    (loaded,) = cluster.statuses[replica.name].versions
    assert loaded.quantized is None


async def test_a_damaged_graph_is_never_served(cluster: Cluster, client: httpx.AsyncClient) -> None:
    plain = cluster.publish("m", "1.0.0", SIGNATURE, own)
    await cluster.want("m", plain)
    replica = cluster.start()
    await replica.ready(client)
    await cluster.want("m", smaller(cluster, plain, stored=network().SerializeToString()))

    def failed() -> bool:
        versions = cluster.statuses[replica.name].versions
        return any(each.state == "failed" and each.quantized == "int8" for each in versions)

    await until(failed, 30, "the damaged graph to be refused")
    (loaded,) = cluster.statuses[replica.name].versions
    assert "does not have the size and the digest" in loaded.detail
    np.testing.assert_allclose(await probabilities(client, replica), expected(network().SerializeToString()), atol=1e-5)
