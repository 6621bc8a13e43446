"""One TensorFlow SavedModel in a process of its own. Run as a script: `savedmodel_child.py FD DIRECTORY OPTIONS`.

It loads the SavedModel, says over the socket `FD` what its `serving_default` takes and returns (or why it can't be
served), and answers frames (`wire.py`) until the other end is gone. It writes no file, and its memory is capped.
"""

import json
import resource
import socket
import sys
from pathlib import Path
from typing import Any

SIGNATURE = "serving_default"
MAX_WORDS = 2_000
"""Characters of what a failing model said."""


class Refused(Exception):
    """The SavedModel can't be served; the text says why."""


class Model:
    """A loaded `serving_default`."""

    def __init__(self, directory: str, *, threads: int, gpu: bool) -> None:
        import tensorflow as tf

        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # from here on: the import tries a temporary file
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
        devices = tf.config.list_physical_devices("GPU") if gpu else []
        for device in devices:
            tf.config.experimental.set_memory_growth(device, True)
        self._tf = tf
        self.devices = [device.name for device in devices]
        try:
            self._loaded = tf.saved_model.load(directory)  # kept: the function holds its variables weakly
            self._run = self._loaded.signatures[SIGNATURE]
        except KeyError as error:
            raise Refused(f"it has no signature {SIGNATURE}") from error
        except (OSError, ValueError, TypeError, AttributeError, RuntimeError, tf.errors.OpError) as error:
            raise Refused(f"TensorFlow cannot load it: {words(error)}") from error
        self._inputs = dict(self._run.structured_input_signature[1])
        self._outputs = dict(self._run.structured_outputs)

    def described(self) -> dict[str, Any]:
        """Its inputs and outputs, and where it runs."""
        return {
            "inputs": [self._value(name, spec) for name, spec in self._inputs.items()],
            "outputs": [self._value(name, spec) for name, spec in self._outputs.items()],
            "devices": self.devices,
            "tensorflow": str(self._tf.__version__),
        }

    @staticmethod
    def _value(name: str, spec: Any) -> dict[str, Any]:
        rank = getattr(getattr(spec, "shape", None), "rank", None)
        if rank is None or not hasattr(spec, "dtype"):
            raise Refused(f"{name!r} is no tensor of a known rank")
        return {"name": name, "dtype": spec.dtype.name, "dims": spec.shape.as_list()}

    def run(self, feed: dict[str, Any]) -> list[tuple[str, Any]]:
        """Every output by its name. Raises TensorFlow's errors."""
        tensors = {
            name: self._tf.constant(feed[name], dtype=spec.dtype, shape=feed[name].shape)
            for name, spec in self._inputs.items()
        }
        return [(name, output.numpy()) for name, output in self._run(**tensors).items()]


def words(error: BaseException) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())[:MAX_WORDS] or type(error).__name__


def serve(line: socket.socket, model: Model) -> None:
    """Answer until the other end is gone. What the model raises is told; what breaks the protocol ends the process."""
    from services.serving.runtime import wire

    while True:
        try:
            _, feed = wire.receive(line, max_bytes=sys.maxsize)
        except EOFError:
            return
        try:
            outputs = model.run(feed)
            wire.send(line, {"kind": "outputs"}, outputs)
        except BrokenPipeError:
            return
        except Exception as error:  # noqa: BLE001 - a model may raise anything; the asking side counts it as its failure
            wire.send(line, {"kind": "failed", "detail": words(error)})


def main(descriptor: int, directory: str, options: dict[str, Any]) -> None:
    """Cap this process, load, serve."""
    memory_bytes = int(options["memory_bytes"])
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    from services.serving.runtime import wire

    line = socket.socket(fileno=descriptor)
    try:
        model = Model(directory, threads=int(options["threads"]), gpu=bool(options["gpu"]))
        described = model.described()
    except Refused as error:
        wire.send(line, {"kind": "refused", "detail": str(error)})
        return
    wire.send(line, {"kind": "ready", **described})
    serve(line, model)


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[3]))  # what `-I` leaves out
    main(int(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]))
