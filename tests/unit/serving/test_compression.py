"""Compressed requests and answers: within the limit, never a bomb, and only for who asks."""

import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.errors import TooLarge
from services.serving import compression
from services.serving.compression import INLINE_BYTES, BadCompression, Decompressor, compressed, wished_coding
from tests.unit.serving.conftest import Plane

X = {"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0.0, 5.0, 0.0, 0.0]}
BODY = json.dumps({"inputs": [X]}).encode()
PREDICT = json.dumps({"modelId": "vector", "input": {"x": [0, 5, 0, 0]}}).encode()
LIMIT = 16 << 20


def bare(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


def plain(body: bytes, coding: bytes, limit: int = LIMIT) -> bytes:
    decompressor = Decompressor(body, coding, limit)
    first = decompressor.first()
    return decompressor.rest() if first is None else first


@given(st.binary(max_size=2000), st.sampled_from([b"gzip", b"deflate"]), st.sampled_from([1, 700]))
def test_what_was_compressed_comes_back(body: bytes, coding: bytes, times: int) -> None:
    whole = body * times
    assert plain(compressed(whole, coding), coding) == whole


def test_the_bare_deflate_format_is_read_too() -> None:
    assert plain(bare(BODY), b"deflate") == BODY


@pytest.mark.parametrize("limit", [100, INLINE_BYTES - 1, INLINE_BYTES, INLINE_BYTES + 1, 1_000_000])
@pytest.mark.parametrize("coding", [b"gzip", b"deflate"])
def test_the_limit_is_exact(limit: int, coding: bytes) -> None:
    assert len(plain(compressed(b"x" * limit, coding), coding, limit)) == limit
    with pytest.raises(TooLarge):
        plain(compressed(b"x" * (limit + 1), coding), coding, limit)


def test_a_bomb_takes_no_more_memory_than_the_limit() -> None:
    import tracemalloc

    bomb = gzip.compress(b"\0" * (200 << 20))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        plain(bomb, b"gzip", 1 << 20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 << 20


@given(st.binary(max_size=300), st.sampled_from([b"gzip", b"deflate"]))
def test_noise_is_refused(body: bytes, coding: bytes) -> None:
    with pytest.raises((BadCompression, TooLarge)):
        plain(b"\xff" + body, coding, 10_000)


@given(st.integers(1, 200))
def test_a_truncated_body_is_refused(missing: int) -> None:
    whole = gzip.compress(BODY * 100)
    with pytest.raises(BadCompression):
        plain(whole[: max(0, len(whole) - missing)], b"gzip")


@pytest.mark.parametrize(
    ("pack", "coding", "status"),
    [
        (gzip.compress, "gzip", 200),
        (gzip.compress, "GZIP", 200),
        (zlib.compress, "deflate", 200),
        (bare, "deflate", 200),
        (lambda body: body, "identity", 200),
        (lambda body: body, "gzip", 400),
        (lambda body: body, "deflate", 400),
        (lambda body: b"", "gzip", 400),
        (lambda body: gzip.compress(body)[:-1], "gzip", 400),
        (lambda body: gzip.compress(body)[:-9], "gzip", 400),
        (lambda body: gzip.compress(body)[:-8] + b"\0" * 8, "gzip", 400),
        (lambda body: gzip.compress(body) + b"more", "gzip", 400),
        (lambda body: gzip.compress(body[:20]) + gzip.compress(body[20:]), "gzip", 400),
        (lambda body: gzip.compress(body) * 10_000, "gzip", 400),
        (lambda body: gzip.compress(body + b" " * (17 << 20)), "gzip", 413),
        (lambda body: gzip.compress(gzip.compress(body)), "gzip, gzip", 415),
        (lambda body: body, "br", 415),
        (lambda body: body, "x" * 5000, 415),
    ],
)
@pytest.mark.parametrize(("path", "body"), [("/v2/models/vector/infer", BODY), ("/mlops/predict", PREDICT)])
async def test_request_codings(
    plane: Plane, path: str, body: bytes, pack: Callable[[bytes], bytes], coding: str, status: int
) -> None:
    answer = await plane.client.post(path, content=pack(body), headers={"content-encoding": coding})
    assert answer.status_code == status, answer.text
    assert ("accept-encoding" in answer.headers) == (status == 415)


async def test_the_binary_header_counts_plain_bytes_both_ways(plane: Plane) -> None:
    rows = 500
    raw = np.zeros((rows, 4), dtype="<f4").tobytes()
    tensor = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "parameters": {"binary_data_size": len(raw)}}
    head = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {
        "inference-header-content-length": str(len(head)),
        "content-encoding": "gzip",
        "accept-encoding": "gzip",
    }
    content = gzip.compress(head + raw)
    answer = await plane.client.post("/v2/models/vector/infer", content=content, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["content-encoding"] == "gzip"
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["shape"] == [rows, 3]
    assert len(answer.content) - length == rows * 3 * 4


@pytest.mark.parametrize(
    ("accept", "rows", "coding"),
    [
        (None, 500, None),
        ("gzip", 500, "gzip"),
        ("deflate", 500, "deflate"),
        ("identity", 500, None),
        ("gzip, deflate, br", 500, None),
        ("*", 500, None),
        ("gzip", 1, None),
    ],
)
async def test_only_who_asks_gets_a_compressed_answer(
    plane: Plane, accept: str | None, rows: int, coding: str | None
) -> None:
    x = {"name": "x", "shape": [rows, 4], "datatype": "FP32", "data": [0.5] * 4 * rows}
    for path, body, count in (
        ("/v2/models/vector/infer", {"inputs": [x]}, lambda d: d["outputs"][0]["shape"][0]),
        (
            "/mlops/predict/batch",
            {"modelId": "vector", "inputs": [{"x": [0, 0, 1, 1]}] * rows},
            lambda d: len(d["predictions"]),
        ),
    ):
        request = plane.client.build_request("POST", path, json=body)
        del request.headers["accept-encoding"]
        if accept is not None:
            request.headers["accept-encoding"] = accept
        answer = await plane.client.send(request)
        assert answer.status_code == 200
        assert answer.headers.get("content-encoding") == coding, path
        assert count(answer.json()) == rows


async def test_what_is_no_prediction_is_never_compressed(plane: Plane) -> None:
    headers = {"accept-encoding": "gzip"}
    plane.gate.compress_bytes = 0
    for method, path in (("GET", "/v2/models/vector"), ("GET", "/v2"), ("POST", "/v2/models/nobody/infer")):
        answer: httpx.Response = await plane.client.request(method, path, headers=headers, content=BODY)
        assert "content-encoding" not in answer.headers, path


@pytest.mark.parametrize(
    ("accept", "listed", "coding"),
    [
        (b"gzip, deflate", True, b"gzip"),
        (b"br, deflate;q=0.5", True, b"deflate"),
        (b"gzip;q=0, deflate", True, b"deflate"),
        (b"br", True, None),
        (b" GZIP ", False, b"gzip"),
        (b"gzip, deflate", False, None),
    ],
)
def test_wishes(accept: bytes, listed: bool, coding: bytes | None) -> None:
    assert wished_coding(accept, listed=listed) == coding


async def test_a_large_body_is_decompressed_beside_the_event_loop(
    plane: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    threads: list[int] = []
    rest: Any = compression.Decompressor.rest

    def noting(self: Decompressor) -> bytes:
        threads.append(threading.get_ident())
        found: bytes = rest(self)
        return found

    monkeypatch.setattr(compression.Decompressor, "rest", noting)
    content = gzip.compress(BODY + b" " * INLINE_BYTES)
    answer = await plane.client.post("/v2/models/vector/infer", content=content, headers={"content-encoding": "gzip"})
    assert answer.status_code == 200
    assert threads
    assert threading.get_ident() not in threads
