"""What no honest client sends, byte by byte, to a real serving process. It answers, and goes on answering."""

import asyncio
import gzip
import json
import zlib

import httpx
import pytest

from tests.integration.serving.conftest import Cluster, Replica
from tests.integration.serving.test_service import predict

BODY = b'{"modelId":"m","input":{"x":[1,0,0,0]}}'
PATHS = (b"/mlops/predict", b"/mlops/predict/batch", b"/mlops/predictions", b"/v2/models/m/infer")


async def raw(replica: Replica, request: bytes) -> int:
    """The status of the answer to these very bytes; 0 when the server just closed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    writer.write(request)
    try:
        line = await asyncio.wait_for(reader.readline(), 10)
    finally:
        writer.close()
    return int(line.split()[1]) if line else 0


def post(path: bytes, body: bytes, *headers: bytes, length: bool = True, host: bytes = b"127.0.0.1") -> bytes:
    lines = [b"POST " + path + b" HTTP/1.1", b"Host: " + host, *headers]
    if length:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


async def test_hostile_requests(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start(TRIMTAB_MAX_BODY_BYTES="1000000")
    await replica.ready(client)
    for path in PATHS:
        truncated = post(path, b'{"modelId":"m","inp')
        assert await raw(replica, truncated) == 400, path
        assert await raw(replica, post(path, b"[" * 500_000)) == 400, path
        assert await raw(replica, post(path, b"\xff\xfe\x00")) == 400, path
        assert await raw(replica, post(path, b"", b"Content-Length: 99999999999", length=False)) == 413, path
        twice = post(path, BODY, b"Content-Length: 5")
        assert await raw(replica, twice) == 400, path
        both = post(path, BODY, b"Transfer-Encoding: chunked")
        assert await raw(replica, both) == 400, path
        chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
        chunked = post(path, chunk * 20 + b"0\r\n\r\n", b"Transfer-Encoding: chunked", length=False)
        assert await raw(replica, chunked) == 413, path
        assert await raw(replica, post(path, BODY, host=b"evil.example")) == 400, path
        assert await raw(replica, post(path, BODY, b"Origin: https://evil.example")) == 403, path
        gzipped = b"Content-Encoding: gzip"
        bomb = gzip.compress(b" " * (200 << 20))
        for body, status in (
            (BODY, 400),
            (bomb, 413),
            (zlib.compress(b"[" * 2_000_000), 400),
            (gzip.compress(BODY)[:-5], 400),
            (gzip.compress(BODY) + b"\0", 400),
            (gzip.compress(b" ") * 20_000, 400),
        ):
            assert await raw(replica, post(path, body, gzipped)) == status, (path, len(body))
        assert await raw(replica, post(path, zlib.compress(b" " * 2_000_000), b"Content-Encoding: deflate")) == 413, (
            path
        )
        for coding in (b"br", b"gzip, gzip", b"zstd", b"compress"):
            assert await raw(replica, post(path, BODY, b"Content-Encoding: " + coding)) == 415, path
        assert await raw(replica, post(path, BODY, gzipped, gzipped)) == 415, path
        assert await raw(replica, post(path, BODY, host=b"127.0.0.1\r\nHost: evil.example")) in (200, 400), path
        for length in (b"-1", b"+5", b"0x10", b"1 2", b"9" * 40):
            wrong = post(path, BODY, b"Content-Length: " + length, length=False)
            assert await raw(replica, wrong) in (400, 413), (path, length)
        for value in (b"1e999", b"-1e999", b"Infinity", b'"\\ud800"', b"[" * 101 + b"]" * 101, b"1" * 5000):
            odd = BODY.replace(b"[1,", b"[" + value + b",")
            assert await raw(replica, post(path, odd)) in (400, 422), (path, value[:20])
        assert await raw(replica, b"POST " + path + b" HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}") == 400, path
        assert (await predict(client, replica))["prediction"] == "normal"
    pickled = post(b"/mlops/predict", BODY, b"Content-Type: application/x-python-pickle")
    assert await raw(replica, pickled) == 415
    assert await raw(replica, b"\x00\x01\x02\r\n\r\n") == 400
    nan = BODY.replace(b"[1,", b"[NaN,")
    assert await raw(replica, post(b"/mlops/predict", nan)) == 422
    assert await raw(replica, post(b"/v2/models/" + b"%2e%2e%2f" * 100 + b"/infer", b"{}")) in (400, 404)
    assert await raw(replica, post(b"/v2/models/" + b"a" * 10_000 + b"/infer", b'{"inputs":[]}')) in (400, 404)
    assert (await predict(client, replica))["prediction"] == "normal"
    assert not replica.events("request_failed_unexpectedly")


async def test_hostile_tensors(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    path = b"/v2/models/m/infer"
    x = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 0, 0, 0]}
    for changed in (
        {"shape": [-1, 4]},
        {"shape": [2**63, 4]},
        {"shape": [2**64 // 4 + 1, 4]},
        {"shape": [2] * 500_000},
        {"shape": [1, 4], "data": [[[[[1, 0, 0, 0]]]]]},
        {"datatype": "BF16"},
        {"data": [1, 0, 0, 10**400]},
        {"parameters": {"binary_data_size": 2**70}},
        {"name": "x" * 100_000},
    ):
        body = json.dumps({"inputs": [{**x, **changed}]}).encode()
        assert await raw(replica, post(path, body)) == 400, str(changed)[:60]
    twice = [{"name": "probabilities"}] * 2
    assert await raw(replica, post(path, json.dumps({"inputs": [x], "outputs": twice}).encode())) == 400
    for length in (b"-1", b"0", b"3", b"99999999", b"9" * 30, b"1e3", b"0x10", b""):
        body = json.dumps({"inputs": [x]}).encode()
        assert await raw(replica, post(path, body, b"Inference-Header-Content-Length: " + length)) == 400, length
    assert (await predict(client, replica))["prediction"] == "normal"
    assert not replica.events("request_failed_unexpectedly")


async def test_who_sends_without_end_is_cut_off(cluster: Cluster, client: httpx.AsyncClient) -> None:
    """A byte now and then, in a body or in headers, and headers that never end; meanwhile others are answered."""
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start(TRIMTAB_HTTP_PATIENCE_SECONDS="1", TRIMTAB_HTTP_LEAST_BYTES_PER_SECOND="10000")
    await replica.ready(client)

    async def drip(begun: bytes, piece: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
        writer.write(begun)
        answer = asyncio.create_task(reader.read(-1))
        try:
            async with asyncio.timeout(30):
                while not answer.done():
                    writer.write(piece)
                    await asyncio.wait([answer], timeout=0.05)
            return answer.result()
        except (ConnectionResetError, BrokenPipeError):
            return b""
        finally:
            answer.cancel()
            writer.close()

    head = b"POST /v2/models/m/infer HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    drips = [drip(head + b"Content-Length: 1000\r\n\r\n", b" ") for _ in range(20)]
    drips += [drip(head + b"X-Slow: ", b"y") for _ in range(20)]
    drips += [drip(head, b"X-More: " + b"z" * 4000 + b"\r\n")]
    dripping = asyncio.gather(*drips)
    while not dripping.done():
        assert (await predict(client, replica))["prediction"] == "normal"
    found = await dripping
    assert all(answer.startswith((b"HTTP/1.1 408", b"HTTP/1.1 431")) or not answer for answer in found)
    assert any(answer.startswith(b"HTTP/1.1 408") for answer in found)
    cut = (await client.get(f"{replica.url}/metrics")).text
    assert 'http_connections_cut_total{reason="slow"}' in cut


async def test_a_slow_client_holds_up_nobody(cluster: Cluster, client: httpx.AsyncClient) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start()
    await replica.ready(client)
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    request = post(b"/mlops/predict", BODY)
    for byte in request[:-1]:
        writer.write(bytes([byte]))
        await writer.drain()
    await predict(client, replica)
    writer.write(request[-1:])
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()


@pytest.mark.parametrize("authorization", [None, "Bearer tt_wrong"])
async def test_without_a_key_nothing_is_predicted(
    cluster: Cluster, client: httpx.AsyncClient, authorization: str | None
) -> None:
    await cluster.want("m", cluster.publish("m", "1.0.0"))
    replica = cluster.start(TRIMTAB_AUTH="keys", TRIMTAB_INTERNAL_KEY="0" * 64)
    await replica.ready(client)
    headers = {"Authorization": authorization} if authorization else {}
    for method, path in (
        ("POST", "/mlops/predict"),
        ("POST", "/mlops/predict/batch"),
        ("POST", "/mlops/predictions"),
        ("POST", "/mlops/explain"),
        ("GET", "/mlops/metrics"),
        ("GET", "/mlops/serving"),
        ("PUT", "/mlops/serving"),
        ("GET", "/v2"),
        ("GET", "/v2/models/m"),
        ("GET", "/v2/models/m/ready"),
        ("POST", "/v2/models/m/infer"),
        ("GET", "/v2/models/stats"),
        ("GET", "/v2/models/m/stats"),
        ("GET", "/v2/models/m/config"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/m/load"),
        ("POST", "/v2/repository/models/m/unload"),
        ("GET", "/v2/whatever"),
    ):
        content = BODY if method == "POST" else None
        answer = await client.request(method, replica.url + path, headers=headers, content=content)
        assert answer.status_code == 401, path
    for path in ("/v2/health/live", "/v2/health/ready", "/healthz", "/readyz"):
        assert (await client.get(replica.url + path)).status_code == 200, path
    internal = {"Authorization": "Bearer " + "0" * 64}
    answer = await client.post(f"{replica.url}/mlops/predict", headers=internal, content=BODY)
    assert answer.status_code == 200
