"""A `.keras` file of unknown origin becomes a graph: checked first, then converted by a child process with caps."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.leash import leashed
from services.registry.untrusted.inspection import Limits, inspect_keras

MEMORY_BYTES = 16 << 30
"""Address space of the child, beside four times the file's size; TensorFlow takes much of it and uses little."""
SECONDS = 600
"""Time of the child."""


def convert_keras(
    source: Path, target: Path, columns: Sequence[str], classes: Sequence[str] | None
) -> tuple[str, ...] | None:
    """Write the graph of the Keras model `source` to `target`; its classes, None for a regression model.

    `columns` are the features of a model that takes one row of numbers. Raises `InvalidInput` for a file that is not
    harmless or does not convert, and `TooLarge` past the caps.
    """
    inspect_keras(source, Limits())
    memory_bytes = MEMORY_BYTES + 4 * source.stat().st_size
    command = [sys.executable, "-I", "-m", "trimtab.mlflow.keras_child", str(source), str(target)]
    with tempfile.TemporaryDirectory(prefix="trimtab-keras-") as home:
        try:
            done = subprocess.run(
                leashed([*command, str(memory_bytes), str(SECONDS)]),
                input=json.dumps({"columns": list(columns), "classes": list(classes) if classes else None}).encode(),
                capture_output=True,
                env=_environment(home),
                timeout=SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise TooLarge(f"the Keras model was not converted within {SECONDS} s") from error
    if done.returncode < 0:
        raise TooLarge(
            f"the Keras model could not be converted within {memory_bytes >> 20} MiB and {SECONDS} s "
            f"(its process ended with {done.returncode})"
        )
    if done.returncode > 0:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        raise InvalidInput(f"the Keras model does not become a graph: {words}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if "refused" in answer:
        raise InvalidInput(f"the Keras model does not become a graph: {answer['refused']}")
    return None if answer["classes"] is None else tuple(answer["classes"])


def _environment(home: str) -> dict[str, str]:
    """What the child needs, and no secret."""
    needed = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        **needed,
        "LANG": "C.UTF-8",
        "HOME": home,
        "TMPDIR": home,
        "KERAS_HOME": home,
        "KERAS_BACKEND": "tensorflow",
        "CUDA_VISIBLE_DEVICES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
