"""What of uploads waits for Kafka, and how long."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from schemas.edge import incarnation_prefix
from schemas.predictions import PredictionBatch
from schemas.serving_options import LogPolicy
from services.kernel.artifacts import build_manifest
from services.kernel.errors import TrimtabError, Unavailable
from services.serving.edge.uploads import EdgeUploads
from services.serving.edge.versions import KnownVersions
from services.serving.exchange import Exchange, Gate
from services.serving.predict_api import encode_problem
from services.serving.redaction import Tokens
from services.serving.settings import ServingSettings
from tests.serving_models import NUMBER, number_model
from tests.waiting import until


class Desk:
    """The route, with a broker that waits until it is `open`."""

    def __init__(self, manifest: bytes, **settings: Any) -> None:
        self.open = asyncio.Event()
        self.policy: LogPolicy | None = LogPolicy()
        self.registry: httpx.Response | None = httpx.Response(200, content=manifest)
        self.asked: list[str] = []
        self.batches: list[PredictionBatch] = []
        self.refusal: TrimtabError | None = None
        self.manifest_digest = hashlib.sha256(manifest).hexdigest()
        signature = json.dumps(json.loads(manifest)["signature"], sort_keys=True, separators=(",", ":"))
        self.signature_digest = hashlib.sha256(signature.encode()).hexdigest()
        chosen = ServingSettings(**settings)
        self._gate = Gate(chosen)
        self.uploads = EdgeUploads(
            chosen,
            lambda authorization, scope, model_id: None,
            KnownVersions(self._fetch),
            lambda model_id: self.policy,
            Tokens(b"key"),
            self._send,
        )
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(self._app), base_url="http://127.0.0.1")

    async def _fetch(self, path: str) -> httpx.Response | None:
        self.asked.append(path)
        return self.registry

    async def _send(self, batch: PredictionBatch) -> None:
        await self.open.wait()
        if self.refusal is not None:
            raise self.refusal
        self.batches.append(batch)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send, self._gate)
        try:
            exchange.check()
            await self.uploads.accept(exchange)
        except TrimtabError as error:
            await exchange.refuse(error, encode_problem)

    async def post(self, first: int, rows: int = 10, **changes: Any) -> httpx.Response:
        """Hand over rows."""
        row = {"time": "2026-06-01T00:00:00Z", "input": {"a": 1, "b": 2}, "prediction": 3.0, "latency_us": 1}
        document = {
            "model_id": "m",
            "version": "1.0.0",
            "manifest_digest": self.manifest_digest,
            "signature_digest": self.signature_digest,
            "replica": "r",
            "incarnation": incarnation_prefix("m") + "0" * 16,
            "first_sequence": first,
            "sent_at": "2026-06-01T00:00:00Z",
            "rows": [row] * rows,
        }
        return await self.client.post("/mlops/predictions", json={**document, **changes})


@pytest.fixture
def manifest(tmp_path: Path) -> bytes:
    """Of a registered version."""
    number_model(tmp_path / "model.onnx")
    return build_manifest(tmp_path, model_id="m", framework="onnx", signature=NUMBER).to_bytes()


async def test_the_answer_waits_for_kafka_and_what_waits_is_bounded(manifest: bytes) -> None:
    desk = Desk(manifest, serving_edge_wait_seconds=0.05, serving_edge_waiting_bytes=1 << 16)
    answers = [await desk.post(first * 400, 400) for first in range(12)]
    assert {answer.status_code for answer in answers} == {503}
    assert answers[0].json()["code"] == "unavailable"
    assert answers[-1].json()["code"] == "overloaded"
    assert all("retry-after" in answer.headers for answer in answers)
    assert desk.batches == []
    desk.open.set()
    waited = sum(answer.json()["code"] == "unavailable" for answer in answers)
    await until(lambda: len(desk.batches) == waited, what="what waited is sent")
    taken = await desk.post(0)
    assert (taken.status_code, taken.json()["acknowledged"]) == (200, 10)


async def test_kafkas_refusal_is_the_devices_answer(manifest: bytes) -> None:
    desk = Desk(manifest)
    desk.open.set()
    desk.refusal = Unavailable("the broker did not acknowledge the record")
    assert (await desk.post(0)).status_code == 503
    desk.refusal = None
    assert (await desk.post(0)).status_code == 200


async def test_a_version_is_asked_for_once(manifest: bytes) -> None:
    desk = Desk(manifest)
    desk.open.set()
    for first in range(0, 30, 10):
        assert (await desk.post(first)).status_code == 200
    assert desk.asked == ["/mlops/models/m/1.0.0/manifest"]
    assert (await desk.post(0, manifest_digest="0" * 64)).status_code == 409


@pytest.mark.parametrize(("said", "status"), [(None, 503), (404, 404), (500, 503), (401, 503)])
async def test_the_registrys_word(manifest: bytes, said: int | None, status: int) -> None:
    desk = Desk(manifest)
    desk.open.set()
    known, desk.registry = desk.registry, None if said is None else httpx.Response(said)
    assert (await desk.post(0)).status_code == status
    assert desk.batches == []
    desk.registry = known
    assert (await desk.post(0)).status_code == 200, "it is asked again"


async def test_nothing_is_taken_before_the_log_policies_are_known(manifest: bytes) -> None:
    desk = Desk(manifest)
    desk.open.set()
    desk.policy = None
    assert (await desk.post(0)).status_code == 503
    assert desk.batches == []
