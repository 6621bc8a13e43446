"""One version as it is explained: its graph, and its baseline sample as a table of scalar elements. In the child only.

A scalar feature is one element, a tensor one for each of its values (`x[0,1]`), up to a bound: beyond it the single
pixel of an image is nothing that a person could read.
"""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.baseline_sample import read_baseline_sample
from schemas.features import DType, Feature, Signature
from schemas.manifest import BASELINE_SAMPLE_NAME, MANIFEST_NAME
from services.kernel.artifacts import file_sha256, read_manifest, verify_directory
from services.kernel.errors import IntegrityFailed, InvalidInput, NotBuilt
from services.serving.columns import numpy_dtype
from services.serving.explain.method import Floats, Game, Indices
from services.serving.explain.refusals import NoBaselineSample
from services.serving.explain.wire import Version
from services.serving.outputs import Meaning, OutputReader
from services.serving.runtime import Array, Runtime, RuntimeFailed
from services.serving.runtime.onnx import OnnxRuntime

RUN_ROWS = 4096
"""Rows of one run of the graph."""
BACKGROUND_SEED = 0
"""The reference rows of a version are the same for every request, so that base values can be compared."""

_ARROW = {
    DType.BOOL: pa.bool_(),
    DType.STRING: pa.string(),
    **{dtype: getattr(pa, dtype.value)() for dtype in DType if "int" in dtype.value},
    **{dtype: pa.float64() for dtype in DType if dtype.is_float},
}


@dataclass(frozen=True)
class Element:
    """One thing that a contribution is found for: a scalar feature, or the value at `offset` of a flattened tensor."""

    name: str
    feature: int
    offset: int


class Subject:
    """See the module. `sample` holds one array of rows an element, in the signature's order.

    Raises `NoBaselineSample`, `IntegrityFailed`, `NotBuilt` (no ONNX graph), and `InvalidInput` for more than
    `max_features` elements.
    """

    def __init__(self, version: Version, max_features: int) -> None:
        directory = Path(version.directory)
        data = (directory / MANIFEST_NAME).read_bytes()
        if hashlib.sha256(data).hexdigest() != version.manifest_digest:
            raise IntegrityFailed(f"{directory.name} does not have the digest {version.manifest_digest}")
        manifest = read_manifest(data)
        verify_directory(directory, manifest)
        graphs = [file.path for file in manifest.files if file.is_model and file.path.endswith(".onnx")]
        if len(graphs) != 1:
            raise NotBuilt(
                f"this version holds {len(graphs)} ONNX graphs: only one with exactly one is explained, and no "
                "TensorFlow SavedModel"
            )
        self.signature: Signature = manifest.signature
        self.elements = elements_of(self.signature)
        if len(self.elements) > max_features:
            raise InvalidInput(
                f"the model takes {len(self.elements)} values; at most {max_features} are explained: "
                "see TRIMTAB_SERVING_EXPLAIN_FEATURES"
            )
        if not any(file.path == BASELINE_SAMPLE_NAME for file in manifest.files):
            raise NoBaselineSample(
                f"this version of {manifest.model_id!r} has no {BASELINE_SAMPLE_NAME}, whose rows an explanation "
                "compares with: train it here, or register it with a sample "
                "(`Client.register_model(model, sample=rows)`, or a folder that holds that file)"
            )
        table = read_baseline_sample((directory / BASELINE_SAMPLE_NAME).read_bytes())
        self.sample = sample_of(table, self.signature)
        self.outputs = OutputReader(self.signature)
        graph = directory / graphs[0]
        if version.graph is not None:
            graph = Path(version.graph)
            if file_sha256(graph) != version.graph_sha256:
                raise IntegrityFailed(f"{graph.name} does not have the digest {version.graph_sha256}")
        self._runtime: Runtime = OnnxRuntime(graph, self.signature)

    @property
    def sample_rows(self) -> int:
        """Rows of the baseline sample that fit the signature."""
        return len(self.sample[0])

    @property
    def output_names(self) -> list[str]:
        """The names of what `Game.evaluate` gives: the classes, or the one value."""
        return list(self.signature.classes or ("value",))

    @property
    def kind(self) -> str:
        """What an output is: `probability`, `indicator` (1 where the class is predicted, else 0), or `value`."""
        if self.outputs.classes is None:
            return "value"
        return "probability" if self.outputs.has_probabilities else "indicator"

    def close(self) -> None:
        """Give the graph's memory back."""
        self._runtime.close()

    def drawn(self, rows: int, seed: int) -> NDArray[np.intp]:
        """`rows` places in the sample, all different, in order; all of them when there are no more."""
        if rows >= self.sample_rows:
            return np.arange(self.sample_rows)
        return np.sort(np.random.default_rng(seed).choice(self.sample_rows, rows, replace=False))

    def values_at(self, place: int) -> list[Any]:
        """One row of the sample, an entry an element."""
        return [column[place] for column in self.sample]

    def values_of(self, row: Sequence[Any]) -> list[Any]:
        """The values of a row on the wire (a list a tensor), an entry an element. Raises `InvalidInput`."""
        values: list[Any] = []
        for feature, value in zip(self.signature.inputs, row, strict=False):
            values += [value] if feature.shape == () else list(value)
        if len(row) != len(self.signature.inputs) or len(values) != len(self.elements):
            raise InvalidInput("the row does not fit the model's signature")
        return values

    def game(self, values: Sequence[Any], references: NDArray[np.intp] | None) -> Game:
        """The game of a row against the sample's rows at `references`; None: all of them."""
        stacks = [
            np.append(column if references is None else column[references], np.array([value], dtype=column.dtype))
            for column, value in zip(self.sample, values, strict=True)
        ]
        same = np.stack([_same(stack[:-1], stack[-1]) for stack in stacks], axis=1)

        def evaluate(indices: Indices) -> Floats:
            parts = [
                self._matrix(self.run([stack[part[:, i]] for i, stack in enumerate(stacks)]))
                for part in np.split(indices, range(RUN_ROWS, len(indices), RUN_ROWS))
            ]
            return parts[0] if len(parts) == 1 else np.concatenate(parts)

        return Game(evaluate, same)

    def run(self, columns: Sequence[Array]) -> Meaning:
        """What the model says of rows given by one array an element. Raises `RuntimeFailed`."""
        rows = len(columns[0])
        feed: dict[str, Array] = {}
        start = 0
        for feature in self.signature.inputs:
            if feature.shape == ():
                feed[feature.name] = columns[start].reshape(rows, 1)
            else:
                feed[feature.name] = np.stack(columns[start : start + feature.size], 1).reshape(rows, *feature.shape)
            start += feature.size
        limit = self._runtime.max_rows
        if limit is None or rows <= limit:
            return self.outputs.read(self._runtime.run(feed, rows))
        pieces = [
            self._runtime.run({name: array[at : at + limit] for name, array in feed.items()}, min(limit, rows - at))
            for at in range(0, rows, limit)
        ]
        return self.outputs.read([np.concatenate(output) for output in zip(*pieces, strict=True)])

    def _matrix(self, meaning: Meaning) -> Floats:
        """Outputs `[rows, outputs]`. Raises `RuntimeFailed` for what is no number."""
        if meaning.probabilities is not None:
            outputs = meaning.probabilities.astype(np.float64)
        elif meaning.codes is not None:
            outputs = np.eye(len(self.outputs.classes or ()))[meaning.codes]
        else:
            assert meaning.values is not None
            outputs = meaning.values.reshape(-1, 1)
        if not np.isfinite(outputs).all():
            raise RuntimeFailed("the model answers NaN or infinity for a mixture of known values: nothing to explain")
        return outputs


def elements_of(signature: Signature) -> list[Element]:
    """The elements of a signature's inputs."""
    elements = []
    for number, feature in enumerate(signature.inputs):
        for offset, place in enumerate(itertools.product(*map(range, feature.shape))):
            name = f"{feature.name}[{','.join(map(str, place))}]" if feature.shape else feature.name
            elements.append(Element(name, number, offset))
    return elements


def sample_of(table: pa.Table, signature: Signature) -> list[Array]:
    """One array an element of a baseline sample, without the rows that do not fit the signature.

    Raises `NoBaselineSample` when a feature is not in it (redacted, for example) or no row fits.
    """
    columns: list[Array] = []
    fits = np.ones(table.num_rows, dtype=bool)
    for feature in signature.inputs:
        if feature.name not in table.column_names:
            raise NoBaselineSample(
                f"the version's baseline sample lacks the feature {feature.name!r}, so there is nothing to compare with"
            )
        try:
            values, good = _column(table[feature.name], feature, table.num_rows)
        except (pa.ArrowException, ValueError) as error:
            raise NoBaselineSample(
                f"the version's baseline sample has no {feature.dtype.value} in {feature.name!r}: {error}"
            ) from error
        fits &= good
        columns += list(values.T)
    if not fits.any():
        raise NoBaselineSample("the version's baseline sample has no row that fits the model's signature")
    return [np.ascontiguousarray(column[fits]) for column in columns]


def _column(column: pa.ChunkedArray, feature: Feature, rows: int) -> tuple[Array, NDArray[np.bool_]]:
    """The values `[rows, size]` of a feature, and which rows fit it."""
    flat = column.combine_chunks()
    if feature.shape != ():
        flat = flat.flatten()
    if len(flat) != rows * feature.size:
        raise ValueError(f"{len(flat)} values for {rows} rows of {feature.size}")
    absent = flat.is_null().to_numpy(zero_copy_only=False)
    if feature.dtype is DType.STRING:
        texts = flat.cast(pa.string()).to_pylist()
        values: Array = np.array([feature.missing if text is None else text for text in texts], dtype=object)
    elif feature.dtype.is_float:
        with np.errstate(over="ignore"):
            values = flat.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(numpy_dtype(feature.dtype))
        absent |= np.isnan(values)
        if feature.nullable:
            values[absent] = feature.missing
    else:
        filler = feature.missing if feature.nullable else numpy_dtype(feature.dtype).type(0).item()
        filled = flat.cast(_ARROW[feature.dtype]).fill_null(pa.scalar(filler, _ARROW[feature.dtype]))
        values = filled.to_numpy(zero_copy_only=False).astype(numpy_dtype(feature.dtype))
    good = np.ones(len(flat), dtype=bool) if feature.nullable else ~absent
    if feature.dtype.is_float:
        good &= ~np.isinf(values)
    fits: NDArray[np.bool_] = np.asarray(good.reshape(rows, feature.size).all(axis=1))
    return values.reshape(rows, feature.size), fits


def _same(values: Array, own: Any) -> NDArray[np.bool_]:
    equal: NDArray[np.bool_] = np.asarray(values == own, dtype=bool)
    if isinstance(own, np.floating) and np.isnan(own):
        equal = np.isnan(values)
    return equal
