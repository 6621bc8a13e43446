"""What tritonclient's asyncio client sees of a server: `python triton_aio.py HOST:PORT`. Prints JSON."""

import asyncio
import json
import sys
from typing import Any

import numpy as np
import tritonclient.http.aio as triton
from tritonclient.utils import InferenceServerException

REQUESTS = 200


def vector(label: int, rows: int, *, binary: bool = True) -> list[triton.InferInput]:
    """Rows of the model `vector` whose class is `label`."""
    values = np.zeros((rows, 4), dtype=np.float32)
    values[:, label] = 9
    return [triton.InferInput("x", [rows, 4], "FP32").set_data_from_numpy(values, binary_data=binary)]


async def refused(asking: Any) -> list[str | None]:
    """Status and text of the refusal."""
    try:
        await asking
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return [None, None]


async def main(address: str) -> dict[str, Any]:
    """Everything it saw."""
    seen: dict[str, Any] = {}
    async with triton.InferenceServerClient(address) as client:
        seen["health"] = [await client.is_server_live(), await client.is_server_ready()]
        seen["ready"] = [await client.is_model_ready("vector"), await client.is_model_ready("nobody")]
        seen["server"] = await client.get_server_metadata()
        seen["metadata"] = await client.get_model_metadata("vector", "1.0.0")
        seen["config"] = await client.get_model_config("vector")
        seen["index"] = await client.get_model_repository_index()

        async def one(number: int) -> bool:
            label, rows, binary = number % 3, 1 + number % 5, number % 2 == 0
            outputs = [triton.InferRequestedOutput("probabilities", binary_data=binary)] if number % 7 else None
            result = await client.infer(
                "vector", vector(label, rows, binary=binary), outputs=outputs, request_id=f"r{number}"
            )
            best = result.as_numpy("probabilities").argmax(axis=1).tolist()
            return bool(best == [label] * rows) and bool(result.get_response()["id"] == f"r{number}")

        seen["right"] = sum(await asyncio.gather(*(one(number) for number in range(REQUESTS))))
        for coding in ("gzip", "deflate"):
            result = await client.infer(
                "vector",
                vector(1, 600),
                request_compression_algorithm=coding,
                response_compression_algorithm=coding,
            )
            seen[coding] = list(result.as_numpy("probabilities").shape)
        large = await client.infer("vector", vector(2, 5000, binary=False))  # with aiohttp's own Accept-Encoding
        seen["large"] = list(large.as_numpy("probabilities").shape)
        seen["unknown"] = await refused(client.infer("nobody", vector(0, 1)))
        seen["statistics"] = await client.get_inference_statistics("vector")
        await client.unload_model("vector")
        seen["refused"] = await refused(client.infer("vector", vector(0, 1)))
        await client.load_model("vector")
        seen["loaded"] = await client.is_model_ready("vector")
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(main(sys.argv[1]))))
