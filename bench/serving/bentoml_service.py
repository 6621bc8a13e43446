"""The benchmark's model behind BentoML; runs in the peer's own environment. The graph is at `BENCH_MODEL`."""

import os
from typing import Any

import bentoml  # type: ignore[import-not-found]
import numpy as np
import onnxruntime


@bentoml.service(workers=1)  # type: ignore[untyped-decorator]
class Model:
    """One row a request."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(os.environ["BENCH_MODEL"], options)
        self._input = self._session.get_inputs()[0].name

    @bentoml.api  # type: ignore[untyped-decorator]
    def predict(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """Probabilities of the first tensor's rows."""
        tensor = inputs[0]
        x = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        return {"probabilities": self._session.run(None, {self._input: x})[1].tolist()}
