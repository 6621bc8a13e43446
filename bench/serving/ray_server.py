"""The benchmark's model behind Ray Serve: python ray_server.py PORT, in the peer's own environment. The graph is at
`BENCH_MODEL`."""

import os
import signal
import sys
from typing import Any

import numpy as np
import onnxruntime
import ray  # type: ignore[import-not-found]
from ray import serve
from starlette.requests import Request


@serve.deployment(max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})  # type: ignore[untyped-decorator]
class Model:
    """Batches of up to 64 rows, gathered for 1 ms."""

    def __init__(self, graph: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(graph, options)
        self._input = self._session.get_inputs()[0].name

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.001)  # type: ignore[untyped-decorator]
    async def run(self, inputs: list[Any]) -> list[Any]:
        """Probabilities by request."""
        return list(self._session.run(None, {self._input: np.concatenate(inputs)})[1])

    async def __call__(self, request: Request) -> dict[str, Any]:
        """Answer one row."""
        tensor = (await request.json())["inputs"][0]
        x = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        return {"probabilities": (await self.run(x)).tolist()}


if __name__ == "__main__":
    ray.init(num_cpus=2, include_dashboard=False, logging_level="error")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Model.bind(os.environ["BENCH_MODEL"]), route_prefix="/")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()
