"""What a smaller graph loses against the version's own, on the rows of its baseline sample.

Runs in a capped child. A class is compared as a class, a value as a number:

- `disagreement` = share of rows that get another class;
- `accuracy` = accuracy of the version's own graph minus that of the smaller one, where the sample holds the truth;
- `relative-error` = mean |smaller - own| / mean |own|, regression.

Where the version's own mean is 0, the error is not relative. Rows to which the version's own graph gives no finite
number are left out; one to which only the smaller graph gives none refuses it.
"""

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pyarrow as pa
from numpy.typing import NDArray

from schemas.baseline_sample import SAMPLE_ROWS
from schemas.features import DType, Feature, OutputRole, Signature

LABEL = "label"
"""The column of the truth in a baseline sample, unless it is a feature."""
LEAST_ROWS = 100
"""With fewer rows a loss of one per cent cannot even be seen."""
ROWS_AT_ONCE = 256
"""Rows of one run."""
RUNS = 5
REPEAT_SECONDS = 10.0
"""After this long no further run is made only to be timed."""

Array = NDArray[Any]
Feed = dict[str, Array]


class Unmeasurable(Exception):
    """The sample does not fit the signature; the text says why."""


def feed_of(sample: pa.Table, signature: Signature, ranks: Mapping[str, int]) -> Feed:
    """The sample's rows as a graph takes them; `ranks` are those of the graph's inputs. Raises `Unmeasurable`."""
    lacking = [feature.name for feature in signature.inputs if feature.name not in sample.column_names]
    if lacking:
        raise Unmeasurable(f"its baseline sample lacks the features {', '.join(lacking[:5])}")
    return {
        feature.name: _column(sample.column(feature.name), feature, ranks[feature.name]) for feature in signature.inputs
    }


def open_graph(path: Path) -> onnxruntime.InferenceSession:
    """As serving does: one thread, no arena."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def measure(
    own: Path, smaller: Path, signature: Signature, sample: pa.Table, least_rows: int = LEAST_ROWS
) -> dict[str, Any]:
    """The members of a `QuantizationReport` that are measured. Raises `Unmeasurable`."""
    sample = sample.slice(0, SAMPLE_ROWS)
    sessions = [open_graph(path) for path in (own, smaller)]
    ranks = {node.name: len(node.shape) for node in sessions[0].get_inputs()}
    feed = feed_of(sample, signature, ranks)
    names = [output.name for output in signature.outputs]
    (before, seconds_before), (after, seconds_after) = (
        _timed(partial(_run, session, names, feed, sample.num_rows)) for session in sessions
    )
    usable = _finite(before)
    count = int(usable.sum())
    if count < least_rows:
        raise Unmeasurable(
            f"its baseline sample has {count} rows with finite answers; the loss is measured on {least_rows} or more"
        )
    lost = count - int(_finite(after)[usable].sum())
    if lost:
        raise Unmeasurable(f"{lost} of {count} rows get answers that are no finite numbers any more")
    before, after = ([values[usable] for values in outputs] for outputs in (before, after))
    metric, loss = _loss(signature, before, after, sample.filter(pa.array(usable)))
    return {
        "metric": metric,
        "rows": count,
        "loss": loss,
        "max_difference": _max_difference(before, after),
        "bytes_before": own.stat().st_size,
        "bytes_after": smaller.stat().st_size,
        "seconds_before": seconds_before,
        "seconds_after": seconds_after,
    }


def _column(values: pa.ChunkedArray, feature: Feature, rank: int) -> Array:
    rows = len(values)
    if feature.shape != ():
        flat = values.combine_chunks()
        try:
            numbers = flat.flatten().to_numpy(zero_copy_only=False).reshape(rows, *feature.shape)
        except (ValueError, AttributeError) as error:
            raise Unmeasurable(f"its baseline sample has no {list(feature.shape)} a row in {feature.name!r}") from error
        return np.ascontiguousarray(numbers, dtype=_numpy(feature))
    missing = feature.missing
    listed = [missing if value is None else value for value in values.to_pylist()]
    try:
        column = np.array(listed, dtype=_numpy(feature))
    except (ValueError, TypeError, OverflowError) as error:
        raise Unmeasurable(f"its baseline sample does not fit the feature {feature.name!r}: {error}") from error
    return column if rank == 1 else column.reshape(rows, 1)


def _numpy(feature: Feature) -> Any:
    return object if feature.dtype is DType.STRING else feature.dtype.value


def _run(session: onnxruntime.InferenceSession, names: list[str], feed: Feed, rows: int) -> list[Array]:
    parts = [
        session.run(names, {name: values[start : start + ROWS_AT_ONCE] for name, values in feed.items()})
        for start in range(0, rows, ROWS_AT_ONCE)
    ]
    return [np.concatenate(column) for column in zip(*parts, strict=True)]


def _timed(run: Callable[[], list[Array]]) -> tuple[list[Array], float]:
    """What `run` gives, and its shortest time."""
    begun, best = time.perf_counter(), np.inf
    for _ in range(RUNS):
        started = time.perf_counter()
        answer = run()
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() - begun > REPEAT_SECONDS:
            break
    return answer, float(best)


def _loss(
    signature: Signature, before: list[Array], after: list[Array], sample: pa.Table
) -> tuple[Literal["disagreement", "accuracy", "relative-error"], float]:
    if signature.classes is None:
        place = next((i for i, output in enumerate(signature.outputs) if output.role is OutputRole.VALUE), 0)
        return "relative-error", _relative_error(before[place], after[place])
    own, smaller = _classes(signature, before), _classes(signature, after)
    truth = _truth(sample, signature)
    if truth is None:
        return "disagreement", float((own != smaller).mean())
    known = truth != None  # noqa: E711 - of each element
    return "accuracy", float((own == truth)[known].mean() - (smaller == truth)[known].mean())


def _classes(signature: Signature, outputs: list[Array]) -> Array:
    """The class names of the rows."""
    classes = np.array(signature.classes or (), dtype=object)
    for output, values in zip(signature.outputs, outputs, strict=True):
        if output.role is OutputRole.PROBABILITIES:
            return np.asarray(classes[values.argmax(axis=1)])
    for output, values in zip(signature.outputs, outputs, strict=True):
        if output.role is OutputRole.LABEL:
            return np.array([_class(value, classes) for value in values.reshape(len(values), -1)[:, 0]], dtype=object)
    raise Unmeasurable("its signature has classes and neither probabilities nor a label")


def _class(value: Any, classes: Array) -> str:
    """The name of a label, which may be the class or its number."""
    name = str(value)
    if name not in classes and name.isdigit() and int(name) < len(classes):
        return str(classes[int(name)])
    return name


def _truth(sample: pa.Table, signature: Signature) -> Array | None:
    if LABEL not in sample.column_names or any(feature.name == LABEL for feature in signature.inputs):
        return None
    values = [None if value is None else str(value) for value in sample.column(LABEL).to_pylist()]
    known = set(signature.classes or ())
    return np.array(values, dtype=object) if any(value in known for value in values) else None


def _relative_error(before: Array, after: Array) -> float:
    own, smaller = before.astype(np.float64), after.astype(np.float64)
    size, error = float(np.abs(own).mean()), float(np.abs(own - smaller).mean())
    return error / size if size > 0 else error


def _finite(outputs: list[Array]) -> NDArray[np.bool_]:
    """Rows in which every floating output is finite."""
    finite = np.ones(len(outputs[0]), dtype=bool)
    for values in outputs:
        if values.dtype.kind == "f":
            finite &= np.isfinite(values).reshape(len(values), -1).all(axis=1)
    return finite


def _max_difference(before: list[Array], after: list[Array]) -> float:
    """Largest difference of an element of a numeric output."""
    largest = 0.0
    for own, smaller in zip(before, after, strict=True):
        if own.dtype.kind in "fiu":
            differences = np.abs(own.astype(np.float64) - smaller.astype(np.float64))
            largest = max(largest, float(differences.max(initial=0.0)))
    return largest
