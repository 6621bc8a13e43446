"""TensorFlow SavedModels for tests, made by a process of its own: TensorFlow takes seconds and 630 MB.

`python tests/saved_models.py FOLDER` writes all of them.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

EVERY = "every"
"""The counterpart of `tests.serving_models.every_model`."""
VECTOR = "vector"
"""The counterpart of `vector_model`; it converts to ONNX."""
FIXED = "fixed"
"""`x` [1, 4] -> `y` = `x`."""
TROUBLE = "trouble"
"""The counterpart of `vector_model`; never ends when `x` holds 13, asks for 64 GiB when it holds 17."""


def save_all(folder: Path) -> Path:
    """Write the SavedModels below `folder`, which is returned. Takes some seconds."""
    known = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "HOME", "PYTHONPATH") if name in os.environ}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    done = subprocess.run(
        [sys.executable, __file__, str(folder)], env={**known, **quiet}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def _modules() -> dict[str, Any]:
    import numpy as np
    import tensorflow as tf

    def spec(name: str, dtype: Any, *shape: int | None) -> Any:
        return tf.TensorSpec(shape or (None, 1), dtype, name)

    class Every(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.eye(4, 3, dtype=np.float32))
            rows = tf.lookup.KeyValueTensorInitializer(["http", "smtp"], [1.0, 2.0])
            self.words = tf.lookup.StaticHashTable(rows, 0.0)
            self.steps = tf.Variable(np.arange(4, dtype=np.float32))

        @tf.function(  # type: ignore[untyped-decorator]
            input_signature=[
                spec("x", tf.float32, None, 4),
                spec("flag", tf.bool, None),
                spec("code", tf.int64),
                spec("level", tf.float64),
                spec("small", tf.uint8),
                spec("word", tf.string),
                spec("amount", tf.float32),
            ]
        )
        def serve(self, x: Any, flag: Any, code: Any, level: Any, small: Any, word: Any, amount: Any) -> Any:
            filled = tf.where(tf.math.is_nan(amount), tf.zeros_like(amount), amount)
            step = tf.gather(self.steps, code)
            added = step + filled + self.words.lookup(word) + tf.cast(small, tf.float32)
            total = level + tf.cast(added, tf.float64) + tf.cast(flag, tf.float64)[:, None]
            probabilities = tf.nn.softmax(tf.matmul(x, self.weights))
            return {
                "probabilities": probabilities,
                "total": total,
                "echo": tf.identity(word),
                "sum": tf.reduce_sum(x, axis=0, keepdims=True),
            }

    class Vector(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.eye(4, 3, dtype=np.float32))

        @tf.function(input_signature=[spec("x", tf.float32, None, 4)])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"probabilities": tf.nn.softmax(tf.matmul(x, self.weights))}

    class Fixed(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[spec("x", tf.float32, 1, 4)])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            return {"y": tf.identity(x)}

    class Trouble(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(np.eye(4, 3, dtype=np.float32))

        @tf.function(input_signature=[spec("x", tf.float32, None, 4)])  # type: ignore[untyped-decorator]
        def serve(self, x: Any) -> Any:
            hangs = tf.reduce_any(tf.equal(x, 13.0))
            turns = tf.while_loop(lambda n: hangs | (n < 1), lambda n: (n + 1,), (tf.constant(0),))[0]
            elements = tf.where(tf.reduce_any(tf.equal(x, 17.0)), tf.constant(1 << 34, tf.int64), 1)
            extra = tf.reduce_max(tf.fill([elements], tf.cast(turns, tf.float32)))
            logits = tf.matmul(x, self.weights) + 0.0 * extra
            return {"probabilities": tf.nn.softmax(logits)}

    return {EVERY: Every(), VECTOR: Vector(), FIXED: Fixed(), TROUBLE: Trouble()}


def main(folder: Path) -> None:
    """Write all of them."""
    import tensorflow as tf

    for name, module in _modules().items():
        tf.saved_model.save(module, str(folder / name), signatures={"serving_default": module.serve})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
