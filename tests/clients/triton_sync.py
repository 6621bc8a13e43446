"""What tritonclient's synchronous client sees of a server: `python triton_sync.py HOST:PORT`. Prints JSON."""

import json
import sys
from typing import Any

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

VECTOR = np.array([[0, 5, 0, 0], [9, 0, 0, 0], [0, 0, 7, 0]], dtype=np.float32)


def vector(*, binary: bool = True, rows: int = 3) -> list[triton.InferInput]:
    """The inputs of the model `vector`."""
    values = np.resize(VECTOR, (rows, 4))
    return [triton.InferInput("x", list(values.shape), "FP32").set_data_from_numpy(values, binary_data=binary)]


def table(*, binary: bool) -> list[triton.InferInput]:
    """Two rows for the model `table`: numbers, strings and integers; one input is left out."""
    columns = {
        "duration": np.array([[0.5], [9.0]], dtype=np.float32),
        "service": np.array([["http"], ["smtp"]], dtype=np.object_),
        "count": np.array([[3], [0]], dtype=np.int64),
    }
    types = {"duration": "FP32", "service": "BYTES", "count": "INT64"}
    return [
        triton.InferInput(name, list(values.shape), types[name]).set_data_from_numpy(values, binary_data=binary)
        for name, values in columns.items()
    ]


def refused(ask: Any) -> list[str | None]:
    """Status and text of the refusal."""
    try:
        ask()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return [None, None]


def labels(result: triton.InferResult) -> list[int]:
    """The best class of each row."""
    best: list[int] = result.as_numpy("probabilities").argmax(axis=1).tolist()
    return best


def main(address: str) -> dict[str, Any]:
    """Everything it saw."""
    seen: dict[str, Any] = {}
    with triton.InferenceServerClient(address, concurrency=4) as client:
        seen["health"] = [client.is_server_live(), client.is_server_ready(), client.is_model_ready("vector")]
        seen["version ready"] = [client.is_model_ready("vector", version) for version in ("1.0.0", "7.0.0")]
        seen["server"] = client.get_server_metadata()
        seen["metadata"] = client.get_model_metadata("table")
        seen["config"] = client.get_model_config("table", "1.0.0")
        seen["index"] = client.get_model_repository_index()
        seen["binary"] = labels(client.infer("vector", vector()))
        seen["json"] = labels(client.infer("vector", vector(binary=False)))
        wanted = [triton.InferRequestedOutput("probabilities", binary_data=False)]
        named = client.infer("vector", vector(), outputs=wanted, request_id="r-7", model_version="1.0.0")
        response = named.get_response()
        seen["named"] = [labels(named), response["id"], response["model_name"], response["model_version"]]
        seen["strings"] = [labels(client.infer("table", table(binary=binary))) for binary in (True, False)]
        for binary in (True, False):
            best = [triton.InferRequestedOutput("probabilities", binary_data=binary, class_count=2)]
            found = client.infer("vector", vector(), outputs=best).as_numpy("probabilities")
            seen[f"classes {binary}"] = [[str(t, "utf-8") if isinstance(t, bytes) else t for t in row] for row in found]
        for coding in ("gzip", "deflate"):
            for binary in (True, False):
                result = client.infer(
                    "vector",
                    vector(binary=binary, rows=600),
                    outputs=[triton.InferRequestedOutput("probabilities", binary_data=binary)],
                    request_compression_algorithm=coding,
                    response_compression_algorithm=coding,
                )
                seen[f"{coding} {binary}"] = len(labels(result))
        small = client.infer("vector", vector(rows=1), response_compression_algorithm="gzip")
        seen["small gzip"] = labels(small)
        tasks = [client.async_infer("vector", vector(rows=1 + i % 3)) for i in range(20)]
        seen["greenlets"] = [len(labels(task.get_result())) for task in tasks]
        seen["parameters"] = labels(client.infer("vector", vector(), parameters={"mine": "yes"}, query_params={"a": 1}))
        seen["unknown"] = refused(lambda: client.infer("nobody", vector()))
        seen["bad shape"] = refused(
            lambda: client.infer("vector", [triton.InferInput("x", [1, 3], "FP32").set_data_from_numpy(VECTOR[:1, :3])])
        )
        seen["statistics"] = client.get_inference_statistics("vector")
        seen["all statistics"] = client.get_inference_statistics()
        client.unload_model("table")
        seen["unloaded"] = [client.is_model_ready("table"), client.is_server_ready(), client.is_model_ready("vector")]
        seen["refused"] = refused(lambda: client.infer("table", table(binary=True)))
        client.load_model("table")
        seen["loaded"] = [client.is_model_ready("table"), labels(client.infer("table", table(binary=True)))]
        seen["not deployed"] = refused(lambda: client.load_model("nobody"))
    return seen


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(sys.argv[1])))
