"""The gateway before real HTTP servers, in a real serving process. No broker: none of this needs one."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.waiting import until
from trimtab.local.ports import free_ports

PUBLIC_REGISTRY = "https://registry.example:8443"


async def echo(request: Request) -> Response:
    """What arrived; a body that breaks off is nobody's concern."""
    try:
        body = await request.body()
    except ClientDisconnect:
        return Response(status_code=400)
    headers = {"ETag": '"7"', "Connection": "X-Private", "X-Private": "secret", "X-Public": "yes"}
    if name := request.headers.get("x-name"):
        headers["X-Name"] = name
    document = {
        "method": request.method,
        "path": request.scope["raw_path"].decode(),
        "query": request.scope["query_string"].decode(),
        "headers": dict(request.headers),
        "size": len(body),
    }
    return JSONResponse(document, status_code=202, headers=headers)


async def zipped(_: Request) -> Response:
    """A compressed answer, which the gateway must not touch."""
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    return Response(gzip.compress(b'{"a": 1}'), headers=headers)


async def cut(_: Request) -> Response:
    """An answer that ends before its length."""

    async def stream() -> AsyncIterator[bytes]:
        yield b"some of it"
        raise RuntimeError("the file is damaged")

    return StreamingResponse(stream(), headers={"content-length": "1000"})


async def events(_: Request) -> Response:
    async def stream() -> AsyncIterator[str]:
        yield "data: first\n\n"
        await asyncio.Event().wait()

    return StreamingResponse(stream(), media_type="text/event-stream")


async def readyz(_: Request) -> Response:
    return JSONResponse({"status": "ready", "waiting_for": []})


async def metrics(_: Request) -> Response:
    return PlainTextResponse("# TYPE jobs counter\njobs_total 3\n")


async def openapi(_: Request) -> Response:
    return JSONResponse({"openapi": "3.1.0", "paths": {"/mlops/train": {"post": {"summary": "Train"}}}})


@dataclass
class Site:
    """The gateway's process and its address."""

    url: str
    owner_url: str
    data_dir: Path
    process: "subprocess.Popen[bytes]"


def started(log_file: Path, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    """A serving process."""
    with log_file.open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "services.serving"], env=os.environ | variables, stderr=log, stdout=log
        )


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """One server stands for registry, trainer and ui; the others are down."""
    methods = ["GET", "POST", "PUT", "DELETE", "PATCH"]
    app = Starlette(
        routes=[
            Route("/readyz", readyz),
            Route("/metrics", metrics),
            Route("/openapi.json", openapi),
            Route("/mlops/events", events),
            Route("/mlops/train/zipped", zipped),
            Route("/mlops/train/cut", cut),
            Route("/{path:path}", echo, methods=methods),
        ]
    )
    owner_port, port, dead_port = free_ports(3)
    server = uvicorn.Server(
        uvicorn.Config(app, port=owner_port, log_config=None, lifespan="off", timeout_graceful_shutdown=1)
    )
    serving = asyncio.create_task(server._serve())
    owner_url = f"http://127.0.0.1:{owner_port}"
    variables = {
        "TRIMTAB_KAFKA_BOOTSTRAP": f"127.0.0.1:{dead_port}",
        "TRIMTAB_DATA_DIR": str(tmp_path),
        "TRIMTAB_SERVING_PORT": str(port),
        "TRIMTAB_MAX_BODY_BYTES": "100000",
        "TRIMTAB_DRAIN_SECONDS": "1",
        "TRIMTAB_SERVING_LINGER_SECONDS": "0",
        "TRIMTAB_REGISTRY_PUBLIC_URL": PUBLIC_REGISTRY + "/",
        **{f"TRIMTAB_{name}_URL": owner_url for name in ("REGISTRY", "TRAINER", "UI")},
        **{f"TRIMTAB_{name}_URL": f"http://127.0.0.1:{dead_port}" for name in ("MONITOR", "TUNER", "LOOP")},
    }
    process = started(tmp_path / "log", variables)
    site = Site(f"http://127.0.0.1:{port}", owner_url, tmp_path, process)

    async def alive() -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"{site.url}/healthz")).status_code == 200
            except httpx.TransportError:
                return False

    await until(alive, 30)
    yield site
    process.kill()
    await asyncio.to_thread(process.wait, 20)
    server.should_exit = True
    await serving


async def test_the_gateway(site: Site, client: httpx.AsyncClient) -> None:
    """One process, every behaviour: starting one costs more than all of these together."""
    await _passes_requests_on(site, client)
    await _tells_who_is_down(site, client)
    await _redirects_uploads(site, client)
    await _does_not_know_the_models_yet(site, client)
    await _streams(site, client)
    await _refuses(site, client)
    await _breaks_off_with_the_owner(site, client)
    await _merges(site, client)
    await _takes_the_configuration(site, client)
    await _ends_event_streams_when_it_stops(site, client)


async def _passes_requests_on(site: Site, client: httpx.AsyncClient) -> None:
    answer = await client.put(
        f"{site.url}/mlops/models/a%20b/1.0.0?stage=x&stage=%2F",
        content=b"{}",
        headers={
            "Authorization": "Bearer tt_key",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "Idempotency-Key": "k1",
            "If-Match": '"3"',
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "this connection only",
        },
    )
    seen: dict[str, Any] = answer.json()
    assert (answer.status_code, seen["method"]) == (202, "PUT")
    assert (seen["path"], seen["query"]) == ("/mlops/models/a%20b/1.0.0", "stage=x&stage=%2F")
    assert seen["headers"]["authorization"] == "Bearer tt_key"
    assert seen["headers"]["if-match"] == '"3"'
    assert seen["headers"]["idempotency-key"] == "k1"
    assert "traceparent" in seen["headers"]
    assert "x-hop" not in seen["headers"]
    assert seen["headers"]["host"] == site.owner_url.removeprefix("http://")
    named = await client.get(f"{site.url}/mlops/train", headers={b"X-Name": "é".encode()})
    assert named.json()["headers"]["x-name"].encode("latin-1").decode() == "é"
    assert (b"x-name", "é".encode()) in named.headers.raw
    assert answer.headers["etag"] == '"7"'
    assert (answer.headers.get("x-public"), answer.headers.get("x-private")) == ("yes", None)
    assert (await client.get(f"{site.url}/mlops/train/zipped")).json() == {"a": 1}
    assert (await client.delete(f"{site.url}/mlops/train/j1")).json()["method"] == "DELETE"
    assert (await client.get(f"{site.url}/")).json()["path"] == "/"


async def _tells_who_is_down(site: Site, client: httpx.AsyncClient) -> None:
    answer = await client.get(f"{site.url}/mlops/models/m/drift")
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert (answer.json()["code"], answer.json()["owner"]) == ("service-down", "monitor")
    assert "retry-after" in answer.headers


async def _redirects_uploads(site: Site, client: httpx.AsyncClient) -> None:
    answer = await client.post(f"{site.url}/mlops/models?x=1", content=b"x" * 200_000)
    assert (answer.status_code, answer.headers["location"]) == (307, f"{PUBLIC_REGISTRY}/mlops/models?x=1")
    blob = await client.put(f"{site.url}/mlops/blobs/{'0' * 64}", content=b"x" * 200_000)
    assert (blob.status_code, blob.headers["location"]) == (307, f"{PUBLIC_REGISTRY}/mlops/blobs/{'0' * 64}")


async def _does_not_know_the_models_yet(site: Site, client: httpx.AsyncClient) -> None:
    """The topic of what is deployed could not be read so far."""
    answer = await client.post(f"{site.url}/mlops/predict", json={"modelId": "m", "input": {}})
    assert (answer.status_code, answer.json()["code"], "retry-after" in answer.headers) == (503, "unavailable", True)
    assert (await client.get(f"{site.url}/v2/models/m")).status_code == 503


async def _streams(site: Site, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", f"{site.url}/mlops/events") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert await anext(answer.aiter_text()) == "data: first\n\n"


async def _ends_event_streams_when_it_stops(site: Site, client: httpx.AsyncClient) -> None:
    async with client.stream("GET", f"{site.url}/mlops/events") as answer:
        chunks = answer.aiter_text()
        assert await anext(chunks) == "data: first\n\n"
        site.process.terminate()
        assert [chunk async for chunk in chunks] == []
    assert await asyncio.to_thread(site.process.wait, 20) == 0


async def _refuses(site: Site, client: httpx.AsyncClient) -> None:
    for path, status in (
        ("/mlops/nothing", 404),
        ("/mlops/models/%2e%2e/keys", 422),
        ("/mlops/models/a%5cb", 422),
        ("/mlops/train/" + "a" * 10_000, 422),
    ):
        assert (await client.get(site.url + path)).status_code == status, path
    large = await client.post(f"{site.url}/mlops/train", content=b"x" * 200_000)
    assert large.status_code == 413

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10_000

    assert (await client.post(f"{site.url}/mlops/train", content=chunks())).status_code == 413
    for method, path, allow in (
        ("POST", "/mlops/health", "GET"),
        ("DELETE", "/mlops/serving", "GET, PUT"),
        ("PUT", "/mlops/predict", "POST"),
    ):
        wrong = await client.request(method, site.url + path)
        assert (wrong.status_code, wrong.headers["allow"]) == (405, allow), path
        assert wrong.json()["code"] == "method-not-allowed"
    foreign = await client.get(f"{site.url}/mlops/train", headers={"Host": "evil.example"})
    assert foreign.status_code == 400


async def _merges(site: Site, client: httpx.AsyncClient) -> None:
    health = await client.get(f"{site.url}/mlops/health")
    services = health.json()["services"]
    assert health.status_code == 503
    assert services["registry"]["status"] == "ready"
    assert services["monitor"]["status"] == "down"
    assert services["serving"]["status"] == "waiting"
    assert (health.json()["status"], health.json()["kafka"]["status"]) == ("degraded", "down")
    page = (await client.get(f"{site.url}/mlops/metrics")).text
    assert 'jobs_total{service="trainer"} 3.0' in page
    assert 'trimtab_service_up{service="monitor"} 0.0' in page
    assert 'ml_prediction_log_bytes{service="serving"}' in page
    document = (await client.get(f"{site.url}/openapi.json")).json()
    assert {"/mlops/train", "/mlops/predict", "/mlops/serving"} <= document["paths"].keys()
    assert "/openapi.json" in (await client.get(f"{site.url}/docs")).text


async def _breaks_off_with_the_owner(site: Site, client: httpx.AsyncClient) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        await client.get(f"{site.url}/mlops/train/cut")
    log = (site.data_dir / "log").read_text()
    assert log.count("answer_broke_off") == 1
    assert "Traceback" not in log


async def _takes_the_configuration(site: Site, client: httpx.AsyncClient) -> None:
    wanted = {
        "maxModelsInMemory": 5,
        "preloadModels": ["threat-classifier", "vulnerability-predictor"],
        "warmupOnLoad": True,
        "enableGPU": False,
        "cacheTTL": 3600,
        "healthCheckInterval": 60,
    }
    answer = await client.put(f"{site.url}/mlops/serving", json=wanted)
    assert answer.status_code == 200
    assert (answer.json()["max_models_in_memory"], answer.json()["cache_ttl"]) == (5, 3600)
    assert answer.json()["not_built"] == []
    assert (await client.get(f"{site.url}/mlops/serving")).json() == answer.json()
    assert json.loads((site.data_dir / "serving.json").read_bytes())["max_models_in_memory"] == 5
    wrong = await client.put(f"{site.url}/mlops/serving", json={"maxModels": 5})
    assert wrong.status_code == 422
    assert "maxModels" in wrong.text
