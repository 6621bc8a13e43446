"""Whatever form a version is served in, it goes the whole way: registered, deployed over Kafka, answering."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest

from schemas.features import Signature
from services.registry.quantization.shrink import to_int8
from services.serving.runtime.onnx import OnnxRuntime
from tests.quantized import feed, network, rows, sample
from tests.serving_models import VECTOR
from trimtab import Client
from trimtab.errors import Conflict, NotBuilt

pytestmark = pytest.mark.timeout(300)  # among the processes is one with TensorFlow


@pytest.fixture
def client(cluster_url: str) -> Iterator[Client]:
    """A client of the cluster."""
    with Client(cluster_url) as client:
        yield client


def served(client: Client, model_id: str, version: str, **wanted: Any) -> dict[str, Any]:
    """The deployment once every replica serves the version."""
    client.promote(model_id, version, "staging", comment="a test's")
    client.deploy(model_id, version, **wanted)
    return client.wait_deployed(model_id)


def test_a_smaller_graph(client: Client, tmp_path: Path) -> None:
    graph = network()
    onnx.save(graph, tmp_path / "model.onnx")
    (tmp_path / "baseline.parquet").write_bytes(sample())
    version = client.register_model(tmp_path, model_id="small")["version"]
    found = served(client, "small", version, quantize="int8", options={"log": {"redact": {"protocol": "hash"}}})
    assert found["routes"][0]["quantized"]["report"]["loss"] <= 0.01
    assert {line["quantized"] for replica in found["replicas"] for line in replica["versions"]} == {"int8"}

    columns = rows(4)
    inputs = [
        {"duration": float(d), "protocol": p} for d, p in zip(columns["duration"], columns["protocol"], strict=True)
    ]
    answers = client.predict_batch("small", inputs)["predictions"]
    onnx.save(to_int8(graph), tmp_path / "smaller.onnx")
    signature = Signature.model_validate(client.manifest("small", version)["signature"])
    [expected] = OnnxRuntime(tmp_path / "smaller.onnx", signature).run(feed(columns), 4)
    np.testing.assert_allclose([list(each["probabilities"].values()) for each in answers], expected, atol=1e-5)
    assert client.explain("small", inputs[0])["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-5)


def test_a_savedmodel(client: Client, saved: Path) -> None:
    folder = saved / "vector"  # it would convert; sent by hand, it stays what it is
    files = [("file", (str(p.relative_to(folder)), p.read_bytes())) for p in sorted(folder.rglob("*")) if p.is_file()]
    metadata = {"model_id": "tf", "changes": "a test's", "signature": VECTOR.model_dump(mode="json")}
    body: dict[str, Any] = {"data": {"metadata": json.dumps(metadata)}, "files": files}
    sent = httpx.post(f"{client.url}/mlops/models", **body, timeout=120, follow_redirects=True)
    assert sent.status_code == 201, sent.text
    version = sent.json()["version"]
    [replica] = served(client, "tf", version)["replicas"]
    assert [line["detail"] for line in replica["versions"]] == ["runs on TensorFlow CPU"]

    powers = np.exp([0.0, 1.0, 2.0])
    answer = client.predict("tf", {"x": [0, 1, 2, 3]})
    assert list(answer["probabilities"].values()) == pytest.approx(list(powers / powers.sum()), rel=1e-5)
    with pytest.raises(Conflict, match="and no TensorFlow SavedModel"):
        client.deploy("tf", version, quantize="int8")
    with pytest.raises(NotBuilt, match="and no TensorFlow SavedModel"):
        client.explain("tf", {"x": [0, 1, 2, 3]})
