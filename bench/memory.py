"""Resident memory of the model server's process while models come and go.

    python -m bench.memory [--rounds 10] [--saved-model]

Each line is a process of its own that loads, asks and unloads one model ten times, as serving does: loading and freeing
in one thread, asking in another. `arena`: ONNX Runtime keeps freed tensors (`TRIMTAB_SERVING_MEMORY_ARENA`). `trim`:
`malloc_trim(0)` after an unload, and up to 128 MiB kept between runs, as serving does it. Figures are MiB above the
process before its first model.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from bench.machine import describe, table
from schemas.features import DType, Feature, Output, Signature
from services.serving.runtime import Runtime
from services.serving.runtime.memory import give_back, keep_for_the_next_run, resident_bytes
from services.serving.runtime.onnx import OnnxOptions, OnnxRuntime
from services.serving.runtime.savedmodel import SavedModelRuntime

WIDTH = 256
BATCH_ROWS = 1_024
BATCHES = 2
SIZES_MIB = (1, 16, 64)
"""Weights of the models."""


def signature() -> Signature:
    """`x` [rows, WIDTH] -> `y` [rows, WIDTH]."""
    return Signature(
        inputs=(Feature(name="x", dtype=DType.FLOAT32, shape=(WIDTH,)),),
        outputs=(Output(name="y", dtype=DType.FLOAT32, shape=(WIDTH,)),),
    )


def graph(path: Path, mebibytes: int) -> Path:
    """A multilayer perceptron of that many MiB: a wide hidden layer, so that its activations are large as well."""
    hidden = max((mebibytes << 20) // (2 * 4 * WIDTH), 1)
    rng = np.random.default_rng(0)
    weights = [
        numpy_helper.from_array(rng.normal(size=shape).astype(np.float32) / WIDTH, name)
        for name, shape in (("A", (WIDTH, hidden)), ("B", (hidden, WIDTH)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "A"], ["z"]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("MatMul", ["h", "B"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, WIDTH]) for name in "xy"]
    model = helper.make_model(
        helper.make_graph(nodes, "m", ends[:1], ends[1:], weights),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=9,
    )
    path.write_bytes(model.SerializeToString())
    return path


def saved_model(folder: Path) -> None:
    """The same as a SavedModel of 16 MiB. Run in a process of its own: TensorFlow stays in memory."""
    import tensorflow as tf

    class Perceptron(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            hidden = (16 << 20) // (2 * 4 * WIDTH)
            self.first = tf.Variable(np.full((WIDTH, hidden), 1e-3, np.float32))
            self.second = tf.Variable(np.full((hidden, WIDTH), 1e-3, np.float32))

        @tf.function(input_signature=[tf.TensorSpec([None, WIDTH], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def serve(self, x: object) -> object:
            return {"y": tf.matmul(tf.nn.relu(tf.matmul(x, self.first)), self.second)}

    module = Perceptron()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})


def measure(path: Path, *, arena: bool, trim: bool, rounds: int) -> dict[str, object]:
    """One process's figures, in MiB."""
    x = np.zeros((BATCH_ROWS, WIDTH), np.float32)
    if trim:
        keep_for_the_next_run()
    OnnxRuntime(graph(path.parent / "first.onnx", 1), signature()).close()  # what the library itself takes
    give_back()
    before = resident_bytes()
    loaded, peaks, freed, outside, trims = [], [], [], [], []

    def opened() -> Runtime:
        if path.is_dir():
            return SavedModelRuntime(path, signature())
        return OnnxRuntime(path, signature(), OnnxOptions(memory_arena=arena))

    with ThreadPoolExecutor(1) as loading:
        for _ in range(rounds):
            runtime = loading.submit(opened).result()
            loading.submit(runtime.run, {"x": x[:64]}, 64).result()
            loaded.append(resident_bytes() - before)
            for _ in range(BATCHES):
                runtime.run({"x": x}, BATCH_ROWS)
            peaks.append(resident_bytes() - before)
            outside.append(runtime.outside_bytes)
            loading.submit(runtime.close).result()
            if isinstance(runtime, SavedModelRuntime):
                assert runtime.closed()
            del runtime
            if trim:
                begun = time.perf_counter()
                loading.submit(give_back).result()
                trims.append(time.perf_counter() - begun)
            freed.append(resident_bytes() - before)
    return {
        "loaded": loaded[0] >> 20,
        "after batches": max(peaks) >> 20,
        "own process": max(outside) >> 20,
        "unloaded": freed[0] >> 20,
        f"unloaded {rounds} times": freed[-1] >> 20,
        "trim ms": 1e3 * max(trims) if trims else None,
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--saved-model", action="store_true", help="a SavedModel as well (TensorFlow)")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--save", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.save:
        saved_model(asked.save)
        return
    if asked.one:
        print(json.dumps(measure(Path(asked.one.pop("path")), **asked.one)))
        return
    print(describe())
    rows = []
    with tempfile.TemporaryDirectory() as name:
        paths = [(f"ONNX, {size} MiB", graph(Path(name) / f"{size}.onnx", size)) for size in SIZES_MIB]
        if asked.saved_model:
            folder = Path(name) / "saved"
            subprocess.run([sys.executable, "-m", "bench.memory", "--save", str(folder)], check=True)
            paths.append(("SavedModel, 16 MiB", folder))
        for what, path in paths:
            for arena in (False, True) if path.is_file() else (False,):
                for trim in (False, True):
                    one = {"path": str(path), "arena": arena, "trim": trim, "rounds": asked.rounds}
                    command = [sys.executable, "-m", "bench.memory", "--one", json.dumps(one)]
                    done = subprocess.run(command, check=True, capture_output=True, text=True)
                    rows.append({"model": what, "arena": arena, "trim": trim, **json.loads(done.stdout)})
    print(table(rows))


if __name__ == "__main__":
    main()
