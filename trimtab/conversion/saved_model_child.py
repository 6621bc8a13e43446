"""Convert a TensorFlow SavedModel to ONNX. Run as a script, in a process of its own with capped memory and time.

`saved_model_child.py FOLDER MODEL.onnx MEMORY_BYTES CPU_SECONDS` prints `{"tensorflow": "2.21.0"}` when the graph was
written and gives the SavedModel's own answers, with `"reason": "a sentence"` when it does not convert, or
`{"refused": "a sentence"}` for a SavedModel that no registry takes. The folder is looked into first as the registry
does it (`services.registry.untrusted.saved_model`).
"""

import json
import logging
import sys
from pathlib import Path
from typing import Any

SAVED_MODEL_OPSET = 18
PROVED_ROWS = 64
"""Rows of random inputs to which both must give the same answers."""
MAX_GRAPH_BYTES = 4 << 30


def convert(folder: Path, target: Path, described: dict[str, Any]) -> None:
    """Write the graph of the SavedModel's `serving_default`. Raises `NotConvertible`."""
    import tf2onnx.convert
    from tf2onnx import tf_loader

    from trimtab.conversion.libraries import REFUSALS, refused

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    try:
        graph_def, inputs, outputs, tables, renamed = tf_loader.from_saved_model(
            str(folder),
            None,
            None,
            tag="serve",
            signatures=["serving_default"],
            return_initialized_tables=True,
            return_tensors_to_rename=True,
        )
        model, _ = tf2onnx.convert._convert_common(
            graph_def,
            name=folder.name,
            opset=SAVED_MODEL_OPSET,
            input_names=inputs,
            output_names=outputs,
            initialized_tables=tables,
            tensors_to_rename=renamed,
        )
        data = model.SerializeToString()
    except REFUSALS as error:
        raise refused("tf2onnx can't convert it", error) from error
    prove(folder, data, described)
    target.write_bytes(data)


def prove(folder: Path, data: bytes, described: dict[str, Any]) -> None:
    """Raise `NotConvertible` unless the graph gives the SavedModel's answers to random rows."""
    import numpy as np
    import onnxruntime
    import tensorflow as tf

    from trimtab.conversion.errors import Different, NotConvertible
    from trimtab.conversion.proof import VALUE_TOLERANCE, _line, _runtime_errors

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    loaded = tf.saved_model.load(str(folder))
    function = loaded.signatures["serving_default"]
    names = [value["name"] for value in described["outputs"]]
    tried = [{value["name"]: rows_of(value, ones=ones) for value in described["inputs"]} for ones in (False, True)]
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        for feed in tried:
            try:
                own = function(**{name: tf.constant(array) for name, array in feed.items()})
            except tf.errors.OpError:
                continue  # random rows are none of its rows; those of ones are
            for name, said in zip(names, session.run(names, feed), strict=True):
                wanted = own[name].numpy()
                if wanted.shape != said.shape:
                    raise Different(f"the graph's {name!r} has the shape {said.shape}, the SavedModel's {wanted.shape}")
                if wanted.dtype.kind == "f":
                    scale = np.maximum(np.abs(wanted), float(np.std(wanted)))
                    gaps = np.abs(wanted - said) / np.where(scale > 0, scale, 1.0)
                    if not (gaps <= VALUE_TOLERANCE).all():
                        raise Different(f"the graph's {name!r} differs from the SavedModel's by {np.max(gaps):.2g}")
                elif [_text(value) for value in wanted.reshape(-1)] != [_text(value) for value in said.reshape(-1)]:
                    raise Different(f"the graph's {name!r} is not the SavedModel's")
    except _runtime_errors() as error:
        raise NotConvertible(f"ONNX Runtime can't run the converted graph: {_line(error)}") from error


def rows_of(value: dict[str, Any], *, ones: bool) -> Any:
    """Random rows of an input, or rows of ones and empty strings."""
    import numpy as np

    shape = [PROVED_ROWS if value["dims"][0] is None else value["dims"][0], *(n or 1 for n in value["dims"][1:])]
    rng = np.random.default_rng(0)
    if value["dtype"] == "string":
        words = np.array(["", "a", "b", "http", "unknown"], dtype=object)
        return np.full(shape, "", dtype=object) if ones else words[rng.integers(0, len(words), shape)]
    kind = np.dtype(value["dtype"])
    if ones:
        return np.ones(shape, kind)
    return rng.normal(size=shape).astype(kind) if kind.kind == "f" else rng.integers(0, 2, shape).astype(kind)


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def main(folder: Path, target: Path, memory_bytes: int, cpu_seconds: int) -> None:
    """Cap this process, look, convert, print."""
    from services.registry.untrusted import saved_model

    saved_model.start()
    import tensorflow as tf

    saved_model.cap(memory_bytes, cpu_seconds, MAX_GRAPH_BYTES)
    from trimtab.conversion.errors import NotConvertible

    answer: dict[str, Any] = {"tensorflow": str(tf.__version__)}
    try:
        described = saved_model.inspect(str(folder / "saved_model.pb"))
        convert(folder, target, described)
    except saved_model.Refused as error:
        answer = {"refused": str(error)}
    except NotConvertible as error:
        answer["reason"] = error.detail
    except MemoryError:
        answer["reason"] = "it asks for more memory than the conversion allows"
    print(json.dumps(answer), flush=True)  # noqa: T201 - this is what the parent reads


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[2]))  # what `-I` leaves out
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
