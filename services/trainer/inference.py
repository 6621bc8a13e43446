"""A model's signature, inferred from the rows it is trained on.

Numbers become float32 features with their range, strings become string features with their categories, booleans stay
booleans. A feature is nullable when a training row lacks it; a missing boolean is `false`.
"""

import pyarrow as pa
import pyarrow.compute as pc

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.kernel.errors import InvalidInput

MAX_CATEGORIES = 256
"""Most frequent values of a string feature that the network can tell apart; the rest are treated as unseen."""

PROBABILITIES = "probabilities"
INTERNAL_PREFIX = "trimtab:"
"""Names inside the graph begin with this; a feature's may not."""
MAX_NAME = 256
MAX_CLASSES = 1_000
"""Classes of a classifier; more mean that the label column holds something else."""


def infer_inputs(features: pa.Table) -> tuple[tuple[Feature, ...], tuple[str, ...]]:
    """(one scalar feature a column, in order; notes). Columns are canonical, see `reading`."""
    inputs: list[Feature] = []
    notes: list[str] = []
    for name in features.column_names:
        _check_name(name)
        column = features.column(name)
        nullable = column.null_count > 0
        if pa.types.is_boolean(column.type):
            inputs.append(Feature(name=name, dtype=DType.BOOL, nullable=nullable, filler=False if nullable else None))
        elif pa.types.is_string(column.type):
            categories, left = _categories(column)
            inputs.append(Feature(name=name, dtype=DType.STRING, nullable=nullable, categories=categories))
            if left:
                notes.append(
                    f"Feature {name!r} has {len(categories) + left} different values; the {len(categories)} most "
                    "frequent are told apart, the others count as unseen."
                )
        else:
            low, high = _range(column)
            inputs.append(Feature(name=name, dtype=DType.FLOAT32, nullable=nullable, minimum=low, maximum=high))
            if low is None:
                notes.append(f"Feature {name!r} has no value in any training row.")
    return tuple(inputs), tuple(notes)


def probabilities_signature(inputs: tuple[Feature, ...], classes: tuple[str, ...]) -> Signature:
    """The signature of a classifier over `classes` with one output, `probabilities` `[batch, len(classes)]`."""
    output = Output(name=PROBABILITIES, dtype=DType.FLOAT32, shape=(len(classes),), role=OutputRole.PROBABILITIES)
    return Signature(inputs=inputs, outputs=(output,), classes=classes)


def check_classes(classes: tuple[str, ...]) -> None:
    """Raise `InvalidInput` unless a classifier can tell these apart."""
    field = "datasetConfig.labelColumn"
    if len(classes) < 2:
        raise InvalidInput(
            f"{field}: the training rows have only the class {classes[0]!r}; a classifier needs two", field=field
        )
    if len(classes) > MAX_CLASSES:
        raise InvalidInput(
            f"{field}: the training rows have {len(classes)} different labels, more than {MAX_CLASSES}; "
            "is this the column of the class?",
            field=field,
        )


def _check_name(name: str) -> None:
    if not 1 <= len(name) <= MAX_NAME or name == PROBABILITIES or name.startswith(INTERNAL_PREFIX):
        raise InvalidInput(
            f"datasetConfig.trainPath: no feature can be called {name[:40]!r}; rename the column or name it in "
            "dropColumns",
            field="datasetConfig.trainPath",
            column=name[:MAX_NAME],
        )


def _categories(column: pa.ChunkedArray) -> tuple[tuple[str, ...], int]:
    counts = pc.value_counts(column.drop_null())
    ranked = sorted(
        zip(counts.field("values").to_pylist(), counts.field("counts").to_pylist(), strict=True),
        key=lambda pair: (-pair[1], pair[0]),
    )
    kept = sorted(value for value, _ in ranked[:MAX_CATEGORIES])
    return tuple(kept), len(ranked) - len(kept)


def _range(column: pa.ChunkedArray) -> tuple[float | None, float | None]:
    if column.null_count == len(column):
        return None, None
    bounds = pc.min_max(column).as_py()
    return float(bounds["min"]), float(bounds["max"])
