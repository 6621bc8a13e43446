"""The monitor's tables. Times are seconds since 1970 (UTC), `_us` ones microseconds; documents are JSON text.

`stream_offsets` is the fence: whoever saves a partition's state moves its offset in the same transaction, from where
it began. Everything that belongs to a partition (open windows, watermarks, tallies, blocks) moves with it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.kernel.db import insert_into
from services.kernel.tables import BigKey

metadata = sa.MetaData()

MODEL_ID = sa.String(128)
VERSION = sa.String(32)
PREDICTION_ID = sa.String(256)

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    sa.Column("artifact", sa.Text, nullable=False),
    sa.Column("manifest_digest", sa.String(64), nullable=False),
    sa.Column("registered_at", sa.Float, nullable=False),
)

default_versions = sa.Table(
    "default_versions",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, nullable=False),
)

monitoring = sa.Table(
    "monitoring",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("revision", sa.Integer, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

stream_offsets = sa.Table(
    "stream_offsets",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("next_offset", sa.BigInteger, nullable=False),
)

watermarks = sa.Table(
    "watermarks",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("incarnation", MODEL_ID, primary_key=True),
    sa.Column("next_sequence", sa.BigInteger, nullable=False),
    sa.Column("pending_gaps", sa.Text, nullable=False),
    sa.Column("missing_ranges", sa.Text, nullable=False, server_default="[]"),
    sa.Column("sampled_out", sa.Text, nullable=False, server_default="{}"),
    sa.Column("at", sa.Float, nullable=False),
)

open_windows = sa.Table(
    "open_windows",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    sa.Column("window", sa.LargeBinary, nullable=False),
    sa.Column("opened_at", sa.Float, nullable=True),
    sa.Column("last_closed", sa.LargeBinary, nullable=True),
    sa.Column("skew", sa.Text, nullable=False),
    sa.Column("redacted", sa.Text, nullable=False),
)

tallies = sa.Table(
    "tallies",
    metadata,
    sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    *(
        sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        for name in ("rows", "errors", "repeated", "missing", "shed", "sampled_out", "labels_left_out")
    ),
)
"""`rows` were counted (failed predictions, `errors`, included); `sampled_out` were answered and not logged. The others
have version ''; `labels_left_out`, labels of predictions that were not logged, the partition `OF_LABELS` too."""

OF_LABELS = -1

windows = sa.Table(
    "windows",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("version", VERSION, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("start_us", sa.BigInteger, nullable=False),
    sa.Column("end_us", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("method", sa.String(32), nullable=False),
    sa.Column("threshold", sa.Float, nullable=False),
    sa.Column("scores", sa.LargeBinary, nullable=False),
    sa.Column("drifted", sa.Text, nullable=False),
    sa.Column("redacted", sa.Text, nullable=False, server_default="[]"),
    sa.Column("step", sa.String(16), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("windows_of", "model_id", "version", "id"),
)

signals = sa.Table(
    "signals",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("state", sa.Text, nullable=False),
)
"""The alarm of each `kind`: drift, skew, performance."""

blocks = sa.Table(
    "blocks",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("partition", sa.Integer, nullable=False),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("incarnation", MODEL_ID, nullable=False),
    sa.Column("first_sequence", sa.BigInteger, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("segment", sa.Integer, nullable=False),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("length", sa.Integer, nullable=False),
    sa.Column("start_us", sa.BigInteger, nullable=False),
    sa.Column("end_us", sa.BigInteger, nullable=False),
    sa.Index("blocks_by_sequence", "incarnation", "first_sequence"),
    sa.Index("blocks_by_time", "model_id", "end_us"),
    sa.Index("blocks_by_segment", "partition", "segment", "position"),
)

foreign_ids = sa.Table(
    "foreign_ids",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("prediction_id", PREDICTION_ID, primary_key=True),
    sa.Column("block_id", sa.BigInteger, nullable=False),
    sa.Column("row", sa.Integer, nullable=False),
    sa.Index("foreign_ids_of_block", "block_id"),
    sqlite_with_rowid=False,
)
"""Predictions whose ids were given from outside, and where they lie."""

labels = sa.Table(
    "labels",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("prediction_id", PREDICTION_ID, nullable=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("incarnation", MODEL_ID, nullable=True),
    sa.Column("sequence", sa.BigInteger, nullable=True),
    sa.Column("block_id", sa.BigInteger, nullable=True),
    sa.Column("row", sa.Integer, nullable=True),
    sa.Column("version", VERSION, nullable=True),
    sa.Column("time_us", sa.BigInteger, nullable=True),
    sa.UniqueConstraint("model_id", "prediction_id", name="labels_once"),
    sa.Index("labels_by_time", "model_id", "time_us"),
    sa.Index("labels_of_block", "block_id"),
    sa.Index(
        "labels_waiting",
        "model_id",
        "id",
        sqlite_where=sa.text("block_id IS NULL"),
        postgresql_where=sa.text("block_id IS NULL"),
    ),
)
"""Ground truth; the columns from `block_id` on are set once its prediction was found."""

performance = sa.Table(
    "performance",
    metadata,
    sa.Column("id", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("version", VERSION, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("correct", sa.Integer, nullable=False),
    sa.Column("start_us", sa.BigInteger, nullable=False),
    sa.Column("end_us", sa.BigInteger, nullable=False),
    sa.Column("closed_at", sa.Float, nullable=True),
    sa.Index("performance_of", "model_id", "version", "id"),
)
"""Windows of labelled rows; the one without `closed_at` still fills."""


def upsert(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]], *, adding: Sequence[str] = ()
) -> None:
    """Insert `rows`, or overwrite those with the same primary key; the columns in `adding` are added up instead."""
    if not rows:
        return
    insert = insert_into(connection, table)
    keys = [column.name for column in table.primary_key]
    changed = {
        name: table.c[name] + insert.excluded[name] if name in adding else insert.excluded[name]
        for name in rows[0]
        if name not in keys
    }
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed), list(rows))


def put_labels(connection: sa.Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert labels, or correct those that are there, without touching what they were joined to."""
    insert = insert_into(connection, labels)
    statement = insert.on_conflict_do_update(
        index_elements=["model_id", "prediction_id"],
        set_={"label": insert.excluded.label, "at": insert.excluded.at},
    )
    connection.execute(statement, list(rows))
