"""Predictions joined with their labels, as a dataset in the artifact store under the digest of its bytes."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from schemas.base import StrictDocument, UtcTime, Version
from schemas.predictions import redacted_in, with_redacted
from services.kernel.db import Database
from services.kernel.storage.store import ArtifactStore
from services.monitor import tables
from services.monitor.archive import feature_table, join_tables, read_block
from services.monitor.spool import Spool


class ExportRequest(StrictDocument):
    """Which predictions: made at `since` or later and before `until`, the newest `limit` of them.

    With fewer than `min_rows` nothing is written. `labelled_only` leaves out those whose label has not come.
    """

    since: UtcTime | None = None
    until: UtcTime | None = None
    version: Version | None = None
    labelled_only: bool = True
    min_rows: int = 1
    limit: int = 100_000


@dataclass(frozen=True)
class Export:
    """What was written; `dataset` and `digest` are None when there were too few rows. `redacted` are the features whose
    values are not in (some of) the rows; with too few rows, those that are redacted now."""

    dataset: str | None
    digest: str | None
    rows: int
    redacted: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Pick:
    """Rows of one block, with their labels."""

    block: Any
    rows: Sequence[int] | None
    labels: Mapping[int, str]


def export(
    db: Database, spool: Spool, store: ArtifactStore, model_id: str, request: ExportRequest, most_rows: int
) -> Export:
    """Write the dataset. Blocks: call it in a thread. The same rows give the same bytes, hence the same digest.

    Raises `Unavailable` when the database or the store does not answer.
    """
    start_us = int(request.since.timestamp() * 1e6) if request.since else 0
    until_us = int(request.until.timestamp() * 1e6) if request.until else 2**62
    limit = min(request.limit, most_rows)
    if request.labelled_only:
        there = db.read_now(lambda c: _count_labelled(c, model_id, request.version, start_us, until_us))
        if min(there, limit) < max(1, request.min_rows):  # a loop asks often: nothing is decoded to say "not yet"
            return Export(None, None, min(there, limit), db.read_now(lambda c: _redacted_now(c, model_id)))
        picks = db.read_now(lambda c: _labelled(c, model_id, request.version, start_us, until_us, limit))
    else:
        picks = db.read_now(lambda c: _every(c, model_id, start_us, until_us, limit))
    redacted: set[str] = set()
    found = []
    for pick in picks:
        table = _read(spool, pick, request.version, start_us, until_us)
        if table is not None:
            found.append(table)
            redacted |= redacted_in(table.schema)
    rows = sum(table.num_rows for table in found)
    if rows < max(1, request.min_rows):
        return Export(None, None, rows, tuple(sorted(redacted)))
    dataset = join_tables(found)
    if redacted:
        dataset = dataset.cast(with_redacted(dataset.schema, redacted))
    dataset = dataset.slice(max(0, dataset.num_rows - limit))
    sink = pa.BufferOutputStream()
    pq.write_table(dataset, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(data).hexdigest()
    key = f"datasets/{digest}.parquet"
    if not store.exists(key):
        store.put_bytes(key, data)
    return Export(f"artifact:{key}", digest, dataset.num_rows, tuple(sorted(redacted)))


def _redacted_now(connection: sa.Connection, model_id: str) -> tuple[str, ...]:
    """The features of the model that are redacted in the windows that fill."""
    table = tables.open_windows.c
    rows = connection.execute(sa.select(table.redacted).where(table.model_id == model_id)).scalars()
    return tuple(sorted({name for row in rows for name in json.loads(row)}))


def _joined(model_id: str, version: str | None, start_us: int, until_us: int) -> sa.ColumnElement[bool]:
    label = tables.labels.c
    joined = sa.and_(
        label.model_id == model_id, label.block_id.is_not(None), label.time_us >= start_us, label.time_us < until_us
    )
    return joined if version is None else sa.and_(joined, label.version == version)


def _count_labelled(connection: sa.Connection, model_id: str, version: str | None, start_us: int, until_us: int) -> int:
    statement = (
        sa.select(sa.func.count()).select_from(tables.labels).where(_joined(model_id, version, start_us, until_us))
    )
    return int(connection.execute(statement).scalar_one())


def _labelled(
    connection: sa.Connection, model_id: str, version: str | None, start_us: int, until_us: int, limit: int
) -> list[_Pick]:
    label = tables.labels.c
    statement = (
        sa.select(label.block_id, label.row, label.label)
        .where(_joined(model_id, version, start_us, until_us))
        .order_by(label.time_us.desc())
        .limit(limit)
    )
    by_block: defaultdict[int, dict[int, str]] = defaultdict(dict)
    for row in connection.execute(statement):
        by_block[row.block_id][row.row] = row.label
    return [
        _Pick(block, sorted(by_block[block.id]), by_block[block.id]) for block in _blocks(connection, list(by_block))
    ]


def _every(connection: sa.Connection, model_id: str, start_us: int, until_us: int, limit: int) -> list[_Pick]:
    block = tables.blocks.c
    statement = (
        sa.select(tables.blocks)
        .where(block.model_id == model_id, block.end_us >= start_us, block.start_us < until_us)
        .order_by(block.end_us.desc())
    )
    chosen, rows = [], 0
    for row in connection.execute(statement):
        chosen.append(row)
        rows += row.rows
        if rows >= limit:
            break
    labels: defaultdict[int, dict[int, str]] = defaultdict(dict)
    ids = [row.id for row in chosen]
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        for row in connection.execute(sa.select(tables.labels).where(tables.labels.c.block_id.in_(some))):
            labels[row.block_id][row.row] = row.label
    return [_Pick(row, None, labels[row.id]) for row in chosen]


def _blocks(connection: sa.Connection, ids: Sequence[int]) -> list[Any]:
    found: list[Any] = []
    for start in range(0, len(ids), 500):
        some = list(ids[start : start + 500])
        found += connection.execute(sa.select(tables.blocks).where(tables.blocks.c.id.in_(some))).all()
    return found


def _read(spool: Spool, pick: _Pick, version: str | None, start_us: int, until_us: int) -> pa.Table | None:
    batch = read_block(spool, pick.block)
    if batch is None:
        return None
    rows = list(range(batch.rows.num_rows)) if pick.rows is None else list(pick.rows)
    ids = batch.prediction_ids()
    table = feature_table(batch, rows, [pick.labels.get(row) for row in rows], [ids[row] for row in rows])
    times = table.column("time").cast(pa.int64())
    kept = pc.and_(pc.greater_equal(times, start_us), pc.less(times, until_us))
    if version is not None:
        kept = pc.and_(kept, pc.equal(table.column("version"), version))
    table = table.filter(kept)
    if batch.redacted:
        table = table.cast(with_redacted(table.schema, batch.redacted))
    return table if table.num_rows else None
