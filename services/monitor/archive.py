"""Reading raw predictions back from the spool, by block and row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from schemas.predictions import LABEL, VALUE, BadBatch, PredictionBatch, token_column
from services.kernel.errors import IntegrityFailed
from services.kernel.telemetry import get_logger
from services.monitor import metrics
from services.monitor.spool import Place, Spool

log = get_logger(__name__)


@dataclass(frozen=True)
class Found:
    """What a prediction said: its version, when it was made, and the predicted label (None: it failed, or a number)."""

    version: str
    time_us: int
    label: str | None


def read_block(spool: Spool, row: Any) -> PredictionBatch | None:
    """The batch that the `blocks` row points to; None, logged and counted, when its bytes are not to be had here."""
    try:
        batch = PredictionBatch.decode(spool.read(Place(row.partition, row.segment, row.position, row.length)))
        _check_is(batch, row)
        return batch
    except (IntegrityFailed, BadBatch) as error:
        metrics.SPOOL_LOST.inc()
        log.error("spool_block_unreadable", block=row.id, error=str(error))
        return None


def _check_is(batch: PredictionBatch, row: Any) -> None:
    """Raise `IntegrityFailed` for another block's bytes: what another monitor never saved may lie in the same place."""
    read = batch.model_id, batch.incarnation, batch.first_sequence, batch.rows.num_rows
    if read != (row.model_id, row.incarnation, row.first_sequence, row.rows):
        raise IntegrityFailed(f"the spool holds something else where block {row.id} should be")


def look_up(batch: PredictionBatch, rows: Sequence[int]) -> list[Found]:
    """What the predictions in these rows said."""
    some = batch.rows.take(pa.array(rows, pa.int64()))
    names = some.schema.names
    versions = some.column("version").to_pylist()
    times = some.column("time").cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
    labels = some.column(LABEL).to_pylist() if LABEL in names else [None] * len(rows)
    return [Found(*facts) for facts in zip(versions, times, labels, strict=True)]


def feature_table(
    batch: PredictionBatch, rows: Sequence[int], labels: Sequence[str | None], ids: Sequence[str]
) -> pa.Table:
    """Rows of a batch as a dataset: features under their own names, then what is known about each prediction. Digests
    of a redacted feature have a column of their own."""
    some = batch.rows.take(pa.array(rows, pa.int64()))
    columns: dict[str, pa.Array] = {}
    for field in some.schema:
        if field.name.startswith("x:"):
            name = field.name[2:]
            columns[token_column(name) if name in batch.redacted else name] = _plain(some.column(field.name))
    said = next((name for name in (LABEL, VALUE) if name in some.schema.names), None)
    prediction = _plain(some.column(said)) if said else pa.nulls(len(rows), pa.utf8())
    about: Mapping[str, Any] = {
        "label": pa.array(labels, pa.utf8()),
        "prediction_id": pa.array(ids, pa.utf8()),
        "prediction": prediction,
        "time": some.column("time").cast(pa.timestamp("us", tz="UTC")),
        "version": _plain(some.column("version")),
    }
    return pa.table({**columns, **about})


def join_tables(tables: Iterable[pa.Table]) -> pa.Table:
    """One table, ordered by time and id; columns that some lack (a redacted or misfit feature) are null there."""
    joined = pa.concat_tables(tables, promote_options="permissive")
    return joined.sort_by([("time", "ascending"), ("prediction_id", "ascending")])


def _plain(column: pa.Array) -> pa.Array:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
