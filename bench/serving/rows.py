"""Requests of 1,024 rows in binary: how much of ONNX Runtime's own speed is left behind HTTP and the prediction log."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from bench.load import measure
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


def over_http(target: Target, connections: int, seconds: int) -> RowRate:
    """The same rows as V2 requests with binary tensors both ways."""
    head, tensor = _request()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    load = measure(target.url, head + tensor, target.pid, connections=connections, seconds=seconds, headers=headers)
    if load.failures:
        raise RuntimeError(f"{load.failures} requests were refused")
    return RowRate(load.requests_per_second * ROWS, load.cpu_us)


def _rows() -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    return np.random.default_rng(0).normal(size=(ROWS, 20)).astype(np.float32)


def _request() -> tuple[bytes, bytes]:
    """The JSON part and the raw tensor."""
    tensor = _rows().tobytes()
    head = (
        f'{{"parameters":{{"binary_data_output":true}},"inputs":[{{"name":"X","shape":[{ROWS},20],'
        f'"datatype":"FP32","parameters":{{"binary_data_size":{len(tensor)}}}}}]}}'
    ).encode()
    return head, tensor
