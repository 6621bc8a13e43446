"""The benchmark's model behind LitServe: python litserve_server.py PORT, in the peer's own environment. The graph is at
`BENCH_MODEL`."""

import os
import sys
from typing import Any

import litserve  # type: ignore[import-not-found]
import numpy as np
import onnxruntime


class Model(litserve.LitAPI):  # type: ignore[misc]
    """Batches of up to 64 rows, gathered for 2 ms."""

    def setup(self, device: str) -> None:
        """Open the graph."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
        self._input = self._session.get_inputs()[0].name

    def decode_request(self, request: dict[str, Any]) -> Any:
        """The request's row."""
        tensor = request["inputs"][0]
        return np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])[0]

    def batch(self, inputs: list[Any]) -> Any:
        """Rows to one array."""
        return np.stack(inputs)

    def predict(self, x: Any) -> Any:
        """Probabilities by row."""
        return self._session.run(None, {self._input: x})[1]

    def unbatch(self, output: Any) -> list[Any]:
        """One array to rows."""
        return list(output)

    def encode_response(self, output: Any) -> dict[str, Any]:
        """The answer."""
        return {"probabilities": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Model(max_batch_size=64, batch_timeout=0.002), accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error")
