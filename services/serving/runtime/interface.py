"""What every runtime checks alike: a model's inputs and outputs against its signature, an answer against its batch."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schemas.features import DType, Signature
from services.kernel.errors import IntegrityFailed
from services.serving.runtime import Array, RuntimeFailed


@dataclass(frozen=True)
class Value:
    """One input or output of a model as the model itself declares it. `dtype` None: a type that is not served; a
    dimension that is no integer is free; `kind` is the model's own word for its type."""

    name: str
    dtype: DType | None
    dims: tuple[Any, ...]
    kind: str


@dataclass(frozen=True)
class Fit:
    """How a signature's features are fed. `flat`: scalars that the model takes as `[rows]` instead of `[rows, 1]`."""

    flat: frozenset[str]
    max_rows: int | None

    def fed(self, feed: Mapping[str, Array], rows: int) -> Mapping[str, Array]:
        """The feed in the model's own shapes."""
        if not self.flat:
            return feed
        return {name: array.reshape(rows) if name in self.flat else array for name, array in feed.items()}


def fit(signature: Signature, inputs: Sequence[Value], outputs: Iterable[str]) -> Fit:
    """Raise `IntegrityFailed` that names the first contradiction between a model and its signature."""
    nodes = {value.name: value for value in inputs}
    wanted = {feature.name for feature in signature.inputs}
    if nodes.keys() != wanted:
        odd = ", ".join(sorted(nodes.keys() ^ wanted))
        raise IntegrityFailed(f"the graph's inputs and the signature's differ: {odd}")
    flat, max_rows = set(), None
    for feature in signature.inputs:
        node = nodes[feature.name]
        if node.dtype is not feature.dtype:
            raise IntegrityFailed(
                f"input {feature.name!r} is {node.kind} in the graph, {feature.dtype.value} in the signature"
            )
        if feature.shape == () and len(node.dims) == 1:
            flat.add(feature.name)
        elif len(node.dims) != max(len(feature.shape), 1) + 1:
            raise IntegrityFailed(
                f"input {feature.name!r} has shape {list(node.dims)} in the graph, {feature.shape} in the signature"
            )
        if isinstance(node.dims[0], int):
            max_rows = min(node.dims[0], max_rows or node.dims[0])
    missing = {output.name for output in signature.outputs} - set(outputs)
    if missing:
        raise IntegrityFailed(f"the graph has no output {', '.join(sorted(missing))}")
    if max_rows is not None and max_rows != 1:
        raise IntegrityFailed(f"the graph's batch axis is fixed at {max_rows}: export it with a free batch axis")
    return Fit(frozenset(flat), max_rows)


def checked(names: Sequence[str], outputs: Sequence[object], rows: int) -> list[Array]:
    """The outputs themselves. Raises `RuntimeFailed` for one that is not an array with an entry for each row."""
    arrays: list[Array] = []
    for name, output in zip(names, outputs, strict=True):
        if not isinstance(output, np.ndarray) or output.ndim < 1 or output.shape[0] != rows:
            raise RuntimeFailed(f"output {name!r} does not have one entry a row")
        arrays.append(output)
    return arrays
