"""Decide whether a version's files may be served, and what they take and return. Nothing is trusted, nothing
unpickled.

A graph is opened in a child process with capped memory and time (`services.registry.untrusted.graph`), and so are a
TensorFlow SavedModel (`saved_model`) and a Keras archive that is kept beside a graph (`keras_archive`); this process
only reads that child's JSON. Which child looks into a file follows from its name alone, never from what the file says
about itself. Blocking: call it in a thread.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.errors import InvalidInput
from services.registry.untrusted import graph, keras_archive, saved_model
from services.registry.untrusted.children import Child


@dataclass(frozen=True)
class Limits:
    """What the child that opens an untrusted graph may use, beyond three times the file's own size in memory."""

    memory_bytes: int = 4 << 30
    seconds: int = 60


@dataclass(frozen=True)
class GraphValue:
    """One input or output of a graph; a dimension that is not fixed is None."""

    name: str
    dtype: str
    dims: tuple[int | None, ...]


@dataclass(frozen=True)
class GraphInterface:
    """What a graph takes and returns."""

    inputs: tuple[GraphValue, ...]
    outputs: tuple[GraphValue, ...]


def inspect_graph(path: Path, limits: Limits, start: Callable[[], Child] | None = None) -> GraphInterface:
    """The interface of the ONNX file at `path`; `start` gives the child that opens it, a new one by default.

    Raises `InvalidInput` with the reason when it must not be served, `TooLarge` when it went over a limit.
    """
    memory_bytes = _memory_bytes(path, limits)  # before there is a process that would be left waiting
    return interface_of((start() if start else Child(graph)).ask(path, memory_bytes, limits.seconds))


def inspect_keras(path: Path, limits: Limits) -> None:
    """Raise `InvalidInput` with the reason unless the `.keras` file at `path` is harmless to whoever loads it.

    Raises `TooLarge` when it went over a limit.
    """
    memory_bytes = _memory_bytes(path, limits)
    Child(keras_archive).ask(path, memory_bytes, limits.seconds)


def inspect_saved_model(path: Path, limits: Limits) -> GraphInterface:
    """The interface of the SavedModel whose `saved_model.pb` lies at `path`, its variables beside it.

    Raises `InvalidInput` with the reason when it must not be served, `TooLarge` when it went over a limit.
    """
    size = sum(file.stat().st_size for file in (path, *(path.parent / "variables").glob("*")))
    memory_bytes = limits.memory_bytes + 3 * size
    return interface_of(Child(saved_model).ask(path, memory_bytes, limits.seconds))


def interface_of(document: dict[str, Any]) -> GraphInterface:
    """The interface that `document_of` gave."""
    return GraphInterface(*(tuple(_value(value) for value in document[side]) for side in ("inputs", "outputs")))


def document_of(interface: GraphInterface) -> dict[str, Any]:
    """A JSON document of an interface."""
    sides = {"inputs": interface.inputs, "outputs": interface.outputs}
    return {
        side: [{"name": value.name, "dtype": value.dtype, "dims": list(value.dims)} for value in values]
        for side, values in sides.items()
    }


def infer_signature(interface: GraphInterface, classes: Sequence[str] | None = None) -> Signature:
    """The signature of a graph that came without one.

    A floating output of `[batch, k]`, k > 1, that is named `prob...` or has one value a class is the probabilities;
    without given `classes` these are called `0` to `k-1`. A string or integer output named `...label...` is the
    label. Raises `InvalidInput` that names what cannot be served.
    """
    outputs = []
    names = tuple(classes) if classes else None
    for value in interface.outputs:
        shape, role = _row_shape(value), OutputRole.VALUE
        floating = _dtype(value).is_float
        if (
            floating
            and len(shape) == 1
            and shape[0] > 1
            and (value.name.startswith("prob") or (shape[0],) == (len(names or ()),))
        ):
            role = OutputRole.PROBABILITIES
            names = names or tuple(str(number) for number in range(shape[0]))
        elif not floating and "label" in value.name:
            role = OutputRole.LABEL
        outputs.append(Output(name=value.name, dtype=_dtype(value), shape=shape, role=role))
    signature = Signature(
        inputs=tuple(Feature(name=v.name, dtype=_dtype(v), shape=_row_shape(v)) for v in interface.inputs),
        outputs=tuple(outputs),
        classes=names,
    )
    check_signature(signature, interface)
    return signature


def check_signature(signature: Signature, interface: GraphInterface) -> None:
    """Raise `InvalidInput` that names the first difference between a signature and its graph."""
    for side, promised, real in (
        ("input", signature.inputs, interface.inputs),
        ("output", signature.outputs, interface.outputs),
    ):
        values = {value.name: value for value in real}
        for item in promised:
            value = values.pop(item.name, None)
            if value is None:
                raise InvalidInput(f"the signature's {side} {item.name!r} is not in the graph")
            if item.dtype.value != value.dtype:
                raise InvalidInput(f"{side} {item.name!r} is {value.dtype} in the graph, not {item.dtype.value}")
            if math.prod(item.shape) != math.prod(_row_shape(value)):
                raise InvalidInput(
                    f"{side} {item.name!r} is {list(value.dims)} in the graph, not [batch, *{list(item.shape)}]"
                )
        if values and side == "input":
            raise InvalidInput(f"the graph's input {next(iter(values))!r} is not in the signature")
    probabilities = signature.output(OutputRole.PROBABILITIES)
    if probabilities is not None and probabilities.shape != (len(signature.classes or ()),):
        raise InvalidInput(
            f"output {probabilities.name!r} has shape {list(probabilities.shape)} and there are "
            f"{len(signature.classes or ())} classes: name one class a probability"
        )


def _memory_bytes(path: Path, limits: Limits) -> int:
    return limits.memory_bytes + 3 * path.stat().st_size


def _value(document: dict[str, object]) -> GraphValue:
    dims = document["dims"]
    assert isinstance(dims, list)
    return GraphValue(str(document["name"]), str(document["dtype"]), tuple(dims))


def _dtype(value: GraphValue) -> DType:
    try:
        return DType(value.dtype)
    except ValueError as error:
        raise InvalidInput(f"{value.name!r} is {value.dtype}, which is not served") from error


def _row_shape(value: GraphValue) -> tuple[int, ...]:
    """The shape without the batch axis; `[batch]` and `[batch, 1]` are scalars."""
    if not value.dims or value.dims[0] is not None:
        raise InvalidInput(
            f"{value.name!r} is {list(value.dims)} in the graph: its first axis must be a free batch axis"
        )
    if any(not size for size in value.dims[1:]):
        raise InvalidInput(f"{value.name!r} is {list(value.dims)} in the graph: only the batch axis may be free")
    shape = tuple(size for size in value.dims[1:] if size is not None)
    return () if shape == (1,) else shape
