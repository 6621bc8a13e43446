"""Rows to try a version with: real ones of its baseline sample where it has one, else one made of its signature."""

from itertools import cycle, islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.features import Signature
from services.kernel.errors import TrimtabError
from services.serving.clauses import Clauses
from services.serving.columns import Row
from services.serving.inputs import RowReader
from services.serving.model import sample_row

_REAL_ROWS = 64
_LARGEST_GROUP_BYTES = 64 << 20
"""Of a baseline sample whose rows take more than this at a time, none is read."""


def sample_rows(signature: Signature, baseline_sample: Path | None, count: int) -> list[Row]:
    """`count` rows that fit `signature`.

    A baseline sample that can't be read is passed over, and so are its rows that do not fit: they may be redacted.
    """
    rows = _real_rows(signature, baseline_sample) if baseline_sample is not None else []
    return list(islice(cycle(rows or [sample_row(signature)]), count))


def _real_rows(signature: Signature, path: Path) -> list[Row]:
    reader = RowReader(signature, Clauses(), _nobody_counts)
    try:
        with pq.ParquetFile(path) as file:
            groups = [file.metadata.row_group(i).total_byte_size for i in range(file.num_row_groups)]
            if not groups or groups[0] > _LARGEST_GROUP_BYTES:
                return []
            columns = [feature.name for feature in signature.inputs]
            batch = next(file.iter_batches(_REAL_ROWS, row_groups=[0], columns=columns, use_threads=False))
            found = batch.to_pylist()
    except (pa.ArrowException, OSError, StopIteration, ValueError, OverflowError):
        return []  # ValueError, OverflowError: a text that is not UTF-8, a time that Python does not have
    rows = []
    for values in found:
        missing_as_null = {name: None if value != value else value for name, value in values.items()}
        try:
            rows.append(reader.read_value(missing_as_null))
        except TrimtabError:
            continue
    return rows


def _nobody_counts(feature: str) -> None:
    """This is no request."""
