"""Event times of rows of the prediction log."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_MICROSECONDS = pa.timestamp("us", tz="UTC")


def times_us(rows: pa.RecordBatch) -> npt.NDArray[np.int64]:
    """(rows,) microseconds since 1970 UTC of the column `time`; 0 where there is none."""
    index = rows.schema.get_field_index("time")
    if index < 0:
        return np.zeros(rows.num_rows, np.int64)
    column = rows.column(index)
    if column.type != _MICROSECONDS:
        column = column.cast(_MICROSECONDS)
    if column.null_count:
        column = column.fill_null(0)
    return np.asarray(column.view(pa.int64()).to_numpy(), np.int64)
