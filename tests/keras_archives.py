"""Small `.keras` archives, honest and hostile, written without Keras."""

import io
import json
import zipfile
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np

METADATA = {"keras_version": "3.15.1", "date_saved": "2026-11-23@02:28:26"}


def built_in(name: str, module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    """An object as Keras serializes it."""
    return {"module": module, "class_name": name, "config": {"name": name.lower(), **config}, "registered_name": None}


def function(name: str, module: str = "builtins", registered: str = "function") -> dict[str, Any]:
    """A function as Keras serializes it."""
    return {"module": module, "class_name": "function", "config": name, "registered_name": registered}


def model(*layers: dict[str, Any], **members: Any) -> dict[str, Any]:
    """The configuration of a Sequential model with a Dense layer and `layers`."""
    dense = built_in("Dense", units=2, activation="softmax", kernel_initializer=built_in("Zeros", "keras.initializers"))
    first = built_in("InputLayer", batch_shape=[None, 3], dtype="float32")
    return {**built_in("Sequential", "keras", layers=[first, dense, *layers]), **members}


def weights(change: Callable[[h5py.File], object] | None = None) -> bytes:
    """`model.weights.h5` of that Dense layer, after `change`."""
    body = io.BytesIO()
    with h5py.File(body, "w") as file:
        group = file.create_group("layers/dense/vars")
        group.attrs["name"] = "dense"
        group["0"] = np.ones((3, 2), np.float32)
        group["1"] = np.zeros(2, np.float32)
        if change is not None:
            change(file)
    return body.getvalue()


def archive(
    config: Any = None,
    weights_h5: bytes | None = None,
    members: dict[str, bytes] | None = None,
    metadata: Any = METADATA,
    change: Callable[[zipfile.ZipFile], object] | None = None,
) -> bytes:
    """A `.keras` file."""
    written = {
        "metadata.json": json.dumps(metadata).encode(),
        "config.json": config if isinstance(config, bytes) else json.dumps(config or model()).encode(),
        "model.weights.h5": weights() if weights_h5 is None else weights_h5,
        **(members or {}),
    }
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w") as file:
        for name, data in written.items():
            file.writestr(name, data)
        if change is not None:
            change(file)
    return body.getvalue()
