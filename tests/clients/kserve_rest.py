"""What kserve's REST client sees of a server, in the environment of `requirements/clients-kserve.lock`:

python kserve_rest.py http://HOST:PORT

Prints JSON.
"""

import asyncio
import json
import sys
from typing import Any

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


def request(name: str, inputs: dict[str, tuple[np.ndarray[Any, Any], str]], *, binary: bool) -> InferRequest:
    """A request whose tensors travel as raw data or in JSON."""
    tensors = []
    for tensor, (values, datatype) in inputs.items():
        given = InferInput(tensor, list(values.shape), datatype)
        given.set_data_from_numpy(values, binary_data=binary)
        tensors.append(given)
    outputs = [RequestedOutput("probabilities", parameters={"binary_data": binary})]
    return InferRequest(name, tensors, request_id="k-1", request_outputs=outputs)


async def refused(asking: Any) -> list[Any]:
    """Status and text of the refusal."""
    try:
        await asking
    except httpx.HTTPStatusError as error:
        return [error.response.status_code, str(error)]
    return [None, None]


async def main(url: str) -> dict[str, Any]:
    """Everything it saw."""
    seen: dict[str, Any] = {}
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
    seen["health"] = [await client.is_server_live(url), await client.is_server_ready(url)]
    seen["ready"] = await client.is_model_ready(url, "vector")
    seen["not ready"] = await client.is_model_ready(url, "nobody")
    x = np.array([[0, 5, 0, 0], [9, 0, 0, 0]], dtype=np.float32)
    table = {
        "duration": (np.array([[0.5], [9.0]], dtype=np.float32), "FP32"),
        "service": (np.array([["http"], ["smtp"]], dtype=np.object_), "BYTES"),
        "count": (np.array([[3], [0]], dtype=np.int64), "INT64"),
    }
    for binary in (True, False):
        answers = [
            await client.infer(url, request("vector", {"x": (x, "FP32")}, binary=binary), model_name="vector"),
            await client.infer(url, request("table", table, binary=binary), model_name="table"),
        ]
        seen[f"binary {binary}"] = [
            [answer.id, answer.model_name, answer.outputs[0].as_numpy().argmax(axis=1).tolist()] for answer in answers
        ]
    plain = {"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [0, 0, 9, 0]}]}
    answer = await client.infer(url, plain, model_name="vector")
    seen["plain"] = [answer.model_name, answer.outputs[0].shape]
    many = await asyncio.gather(*(client.infer(url, plain, model_name="vector") for _ in range(50)))
    seen["many"] = [int(answer.outputs[0].as_numpy().argmax()) for answer in many]
    seen["unknown"] = await refused(client.infer(url, plain, model_name="nobody"))
    bad = {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [0, 0, 9]}]}
    seen["bad shape"] = await refused(client.infer(url, bad, model_name="vector"))
    await client.close()
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1]))))
