"""The bounded sample of a baseline's raw rows, kept beside its bins as `baseline.parquet`.

Exact distances, explanations and two-sample tests read it. It is drawn without replacement by a seeded generator, so
that the same rows give the same bytes.
"""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.baseline import Column

SAMPLE_ROWS = 10_000


def write_baseline_sample(columns: Mapping[str, Column], *, rows: int = SAMPLE_ROWS, seed: int = 0) -> bytes:
    """Parquet bytes of at most `rows` of the rows of `columns` (equally long), in their original order.

    A 2-D array becomes a column of fixed-size lists. Raises `pyarrow.ArrowInvalid` for columns of unequal length.
    """
    table = pa.table({name: _arrow(column) for name, column in columns.items()})
    if table.num_rows > rows:
        kept = np.sort(np.random.default_rng(seed).choice(table.num_rows, rows, replace=False))
        table = table.take(pa.array(kept))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def read_baseline_sample(data: bytes) -> pa.Table:
    """The rows that `write_baseline_sample` kept. Raises `pyarrow.ArrowInvalid` for other bytes."""
    return pq.read_table(pa.BufferReader(data))


def _arrow(column: Column) -> pa.Array | pa.ChunkedArray:
    if isinstance(column, pa.Array | pa.ChunkedArray):
        return column
    if isinstance(column, np.ndarray) and column.ndim > 1:
        width = int(np.prod(column.shape[1:]))
        return pa.FixedSizeListArray.from_arrays(pa.array(column.reshape(-1)), width)
    return pa.array(column)
