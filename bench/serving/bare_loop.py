"""The fastest server that uvicorn and ONNX Runtime allow in one Python process, with nothing of ours in it: decode,
one batch a tick, run, encode. What `bench.serving` measures us against. The graph is at `BARE_LOOP_MODEL`."""

import asyncio
import os
from typing import Any

import msgspec
import numpy as np
import onnxruntime
from starlette.types import Receive, Scope, Send


class _Tensor(msgspec.Struct):
    name: str
    shape: list[int]
    datatype: str
    data: list[float]


class _Request(msgspec.Struct):
    inputs: list[_Tensor]


_options = onnxruntime.SessionOptions()
_options.intra_op_num_threads = 1
_session = onnxruntime.InferenceSession(os.environ["BARE_LOOP_MODEL"], _options, providers=["CPUExecutionProvider"])
_input = _session.get_inputs()[0].name
_decode = msgspec.json.Decoder(_Request).decode
_encode = msgspec.json.Encoder().encode
_queue: list[tuple[Any, "asyncio.Future[Any]"]] = []


def _flush() -> None:
    batch = _queue.copy()
    _queue.clear()
    outputs = _session.run(None, {_input: np.concatenate([x for x, _ in batch])})
    at = 0
    for x, future in batch:
        future.set_result([output[at : at + len(x)] for output in outputs])
        at += len(x)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer every POST as an inference."""
    tensor = _decode((await receive())["body"]).inputs[0]
    x = np.array(tensor.data, dtype=np.float32).reshape(tensor.shape)
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()
    _queue.append((x, future))
    if len(_queue) == 1:
        loop.call_soon(_flush)
    label, probabilities = await future
    document = {
        "model_name": "bare",
        "outputs": [
            {"name": "label", "shape": list(label.shape), "datatype": "INT64", "data": label.ravel().tolist()},
            {
                "name": "probabilities",
                "shape": list(probabilities.shape),
                "datatype": "FP32",
                "data": probabilities.ravel().tolist(),
            },
        ],
    }
    body = _encode(document)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
