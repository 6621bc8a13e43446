"""Load a `.keras` file of unknown origin and write its graph. Run in a process of its own with capped memory and time.

`python -m trimtab.mlflow.keras_child MODEL.keras MODEL.onnx MEMORY_BYTES CPU_SECONDS` reads
`{"columns": [...], "classes": [...] or null}` from standard input, writes the graph and prints
`{"classes": [...] or null}`, or `{"refused": "a sentence"}`. The file has passed
`services.registry.untrusted.keras_archive`, so it names nothing but what comes with Keras; it is loaded in safe mode
all the same.
"""

import json
import resource
import sys
from pathlib import Path
from typing import Any

MAX_GRAPH_BYTES = 4 << 30
PROVED_ROWS = 64
"""Rows of random numbers to which the model and its graph must give the same answers."""


def convert(source: Path, target: Path, columns: list[str], classes: list[str] | None) -> list[str] | None:
    """Write the graph of the Keras model; its classes. Raises `NotConvertible`."""
    import keras
    import numpy as np

    from trimtab.conversion.errors import NotConvertible
    from trimtab.conversion.keras import KerasModel
    from trimtab.conversion.libraries import REFUSALS, refused
    from trimtab.conversion.sample import read_sample
    from trimtab.conversion.version_folder import converted

    try:
        model = keras.saving.load_model(source, compile=False, safe_mode=True)
    except REFUSALS as error:
        raise refused("Keras does not load the model in safe mode", error) from error
    shapes = {str(tensor.name): tuple(tensor.shape[1:]) for tensor in model.inputs}
    if any(size is None for shape in shapes.values() for size in shape):
        raise NotConvertible("only the batch axis of a Keras model's inputs may be free: fix the others")
    rng = np.random.default_rng(0)
    rows: dict[str, Any] = {
        name: rng.normal(size=(PROVED_ROWS, *shape)).astype(np.float32) for name, shape in shapes.items()
    }
    names = columns if len(rows) == 1 and (len(columns),) in shapes.values() else None
    sample = read_sample(next(iter(rows.values())) if len(rows) == 1 else rows, names)
    made = converted(KerasModel(model, classes), sample)
    target.write_bytes(made.graph)
    return None if made.signature.classes is None else list(made.signature.classes)


def main(source: str, target: str, memory_bytes: int, cpu_seconds: int) -> None:
    """Cap this process, convert, print."""
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_GRAPH_BYTES, MAX_GRAPH_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from trimtab.conversion.errors import NotConvertible

    asked = json.load(sys.stdin)
    answer: dict[str, Any]
    try:
        answer = {"classes": convert(Path(source), Path(target), asked["columns"], asked["classes"])}
    except NotConvertible as error:
        answer = {"refused": error.detail}
    except MemoryError:
        answer = {"refused": "it asks for more memory than the conversion allows"}
    print(json.dumps(answer), flush=True)  # noqa: T201 - this is what the parent reads


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
