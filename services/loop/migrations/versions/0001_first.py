"""The loop's first tables."""

import sqlalchemy as sa
from alembic import op

from services.kernel.tables import create_kernel_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create everything."""
    create_kernel_tables(op)
    op.create_table(
        "cycles",
        sa.Column("cycle_id", sa.String(64), primary_key=True),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("step", sa.String(32), nullable=False),
        sa.Column("open", sa.Boolean, nullable=False),
        sa.Column("opened_at", sa.Float, nullable=False),
        sa.Column("step_at", sa.Float, nullable=False),
        sa.Column("since", sa.Float, nullable=False),
        sa.Column("champion_version", sa.String(64), nullable=False),
        sa.Column("champion_artifact", sa.Text, nullable=False),
        sa.Column("champion_manifest_digest", sa.String(64), nullable=False),
        sa.Column("challenger_version", sa.String(64)),
        sa.Column("job_id", sa.String(128)),
        sa.Column("comparison", sa.Text),
        sa.Column("deployment_revision", sa.BigInteger),
        sa.Column("traffic_before", sa.Text),
        sa.Column("cause", sa.Text),
        sa.Column("alerted", sa.Boolean, nullable=False),
    )
    op.create_index(
        "cycles_one_open",
        "cycles",
        ["model_id"],
        unique=True,
        sqlite_where=sa.text("open"),
        postgresql_where=sa.text("open"),
    )
    op.create_table(
        "steps",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("cycle_id", sa.String(64), nullable=False, index=True),
        sa.Column("step", sa.String(32), nullable=False),
        sa.Column("explanation", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("model_id", sa.String(128), primary_key=True),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("cooldown_until", sa.Float),
        sa.Column("deployment", sa.Text),
        sa.Column("signal_id", sa.String(128)),
        sa.Column("signal_version", sa.String(64)),
        sa.Column("signal_since", sa.Float),
        sa.Column("signal_explanation", sa.Text),
        sa.Column("signal_cause", sa.Text),
    )
    op.create_table(
        "versions",
        sa.Column("model_id", sa.String(128), primary_key=True),
        sa.Column("version", sa.String(64), primary_key=True),
        sa.Column("job_id", sa.String(128)),
    )
    op.create_table(
        "jobs", sa.Column("job_id", sa.String(128), primary_key=True), sa.Column("job", sa.Text, nullable=False)
    )
    op.create_table(
        "replicas",
        sa.Column("replica", sa.String(128), primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
    )
