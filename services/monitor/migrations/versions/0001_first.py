"""The first tables of the monitor. Frozen: a later change is a revision of its own."""

import sqlalchemy as sa
from alembic import op

from services.kernel.tables import create_kernel_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MODEL_ID = sa.String(128)
VERSION = sa.String(32)
PREDICTION_ID = sa.String(256)
BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the kernel's tables and the monitor's."""
    create_kernel_tables(op)
    op.create_table(
        "versions",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("manifest_digest", sa.String(64), nullable=False),
        sa.Column("registered_at", sa.Float, nullable=False),
    )
    op.create_table(
        "default_versions",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, nullable=False),
    )
    op.create_table(
        "monitoring",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("revision", sa.Integer, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "stream_offsets",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("next_offset", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "watermarks",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("incarnation", MODEL_ID, primary_key=True),
        sa.Column("next_sequence", sa.BigInteger, nullable=False),
        sa.Column("pending_gaps", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "open_windows",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("window", sa.LargeBinary, nullable=False),
        sa.Column("opened_at", sa.Float, nullable=True),
        sa.Column("last_closed", sa.LargeBinary, nullable=True),
        sa.Column("skew", sa.Text, nullable=False),
        sa.Column("redacted", sa.Text, nullable=False),
    )
    op.create_table(
        "tallies",
        sa.Column("partition", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        *(
            sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
            for name in ("rows", "errors", "repeated", "missing", "shed")
        ),
    )
    op.create_table(
        "windows",
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
        sa.Column("step", sa.String(16), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("windows_of", "windows", ["model_id", "version", "id"])
    op.create_table(
        "signals",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_table(
        "blocks",
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
    )
    op.create_index("blocks_by_sequence", "blocks", ["incarnation", "first_sequence"])
    op.create_index("blocks_by_time", "blocks", ["model_id", "end_us"])
    op.create_index("blocks_by_segment", "blocks", ["partition", "segment", "position"])
    op.create_table(
        "foreign_ids",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("prediction_id", PREDICTION_ID, primary_key=True),
        sa.Column("block_id", sa.BigInteger, nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("foreign_ids_of_block", "foreign_ids", ["block_id"])
    op.create_table(
        "labels",
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
    )
    op.create_index("labels_by_time", "labels", ["model_id", "time_us"])
    op.create_index("labels_of_block", "labels", ["block_id"])
    op.create_index(
        "labels_waiting",
        "labels",
        ["model_id", "id"],
        sqlite_where=sa.text("block_id IS NULL"),
        postgresql_where=sa.text("block_id IS NULL"),
    )
    op.create_table(
        "performance",
        sa.Column("id", BigKey, primary_key=True, autoincrement=True),
        sa.Column("model_id", MODEL_ID, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("correct", sa.Integer, nullable=False),
        sa.Column("start_us", sa.BigInteger, nullable=False),
        sa.Column("end_us", sa.BigInteger, nullable=False),
        sa.Column("closed_at", sa.Float, nullable=True),
    )
    op.create_index("performance_of", "performance", ["model_id", "version", "id"])
