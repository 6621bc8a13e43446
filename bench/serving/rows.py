"""Requests of 1,024 rows in binary: how much of ONNX Runtime's own speed is left behind HTTP and the prediction log."""

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime

from bench.cluster import cpu_seconds
from bench.serving.servers import Target

ROWS = 1024


@dataclass(frozen=True)
class RowRate:
    """Rows a second; `cpu_us` is the server's processor time a request."""

    rows_per_second: float
    cpu_us: float


def runtime_alone(graph: Path, seconds: float) -> RowRate:
    """ONNX Runtime with one thread on the same rows, called in a loop."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    x = _rows()
    calls, begun = 0, time.perf_counter()
    while (taken := time.perf_counter() - begun) < seconds:
        session.run(None, {name: x})
        calls += 1
    return RowRate(calls * ROWS / taken, taken / calls * 1e6)


def over_http(target: Target, connections: int, seconds: float) -> RowRate:
    """The same rows as V2 requests with binary tensors both ways."""
    asyncio.run(_load(target.url, connections, 1))
    before = cpu_seconds(target.pid)
    requests = asyncio.run(_load(target.url, connections, seconds))
    return RowRate(requests * ROWS / seconds, (cpu_seconds(target.pid) - before) * 1e6 / max(requests, 1))


def _rows() -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(0).normal(size=(ROWS, 20)).astype(np.float32)


def _request(url: str) -> bytes:
    tensor = _rows().tobytes()
    head = (
        f'{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"X","shape":[{ROWS},20],'
        f'"datatype":"FP32","parameters":{{"binary_data_size":{len(tensor)}}}}}]}}'
    ).encode()
    parts = urlsplit(url)
    lines = (
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nInference-Header-Content-Length: {len(head)}\r\n"
        f"Content-Length: {len(head) + len(tensor)}\r\n\r\n"
    )
    return lines.encode() + head + tensor


async def _load(url: str, connections: int, seconds: float) -> int:
    """The number of requests answered with 200."""
    parts, request = urlsplit(url), _request(url)
    end = time.perf_counter() + seconds
    answered = 0

    async def one() -> None:
        nonlocal answered
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
        while time.perf_counter() < end:
            writer.write(request)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(f"the server refused: {answer[:200]!r}")
            length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            await reader.readexactly(length)
            answered += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(connections)))
    return answered
