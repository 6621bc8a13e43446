"""Triton's classification extension: the best classes of each row as texts `score:index[:label]`.

Asked for by an output's parameter `classification`, the number of classes. The answer is a BYTES tensor
`[rows, classes]`, best first; labels are the signature's classes where the output holds one number for each.
"""

import numpy as np

from schemas.features import Signature
from services.kernel.errors import InvalidInput
from services.serving.runtime import Array
from services.serving.v2.requests import WantedOutput


def best_classes(output: WantedOutput, values: Array, signature: Signature) -> Array:
    """The texts for `values [rows, ...]`. Raises `InvalidInput` for an output that holds no numbers."""
    if values.dtype.kind not in "fiu":
        raise InvalidInput(f"output {output.name!r} holds no numbers to classify by")
    scores = values.reshape(values.shape[0], -1)
    labels = signature.classes if signature.classes and len(signature.classes) == scores.shape[1] else None
    best = np.argsort(-scores.astype(np.float64), axis=1, kind="stable")[:, : output.classes]
    form = "{:f}:{}" if values.dtype.kind == "f" else "{}:{}"
    rows = [
        [form.format(score[i], i) + (f":{labels[i]}" if labels else "") for i in places]
        for score, places in zip(scores.tolist(), best.tolist(), strict=True)
    ]
    return np.array(rows, dtype=object).reshape(best.shape)
