"""The first tables of the tuner. Frozen: a later change is a revision of its own."""

import sqlalchemy as sa
from alembic import op

from services.kernel.tables import create_kernel_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the kernel's tables and the tuner's."""
    create_kernel_tables(op)
    op.create_table(
        "experiments",
        sa.Column("experiment_id", sa.String(128), primary_key=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("base_job", sa.Text, nullable=False),
        sa.Column("base_job_from", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("cause", sa.Text, nullable=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float, nullable=True),
        sa.Column("best_trial", sa.Integer, nullable=True),
        sa.Column("best_value", sa.Float, nullable=True),
    )
    op.create_index("experiments_by_time", "experiments", ["created_at"])
    op.create_table(
        "trials",
        sa.Column("experiment_id", sa.String(128), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("job_id", sa.String(128), nullable=False, unique=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("value", sa.Float, nullable=True),
        sa.Column("metrics", sa.Text, nullable=True),
        sa.Column("artifact", sa.Text, nullable=True),
        sa.Column("manifest_digest", sa.String(64), nullable=True),
        sa.Column("epoch", sa.Integer, nullable=True),
        sa.Column("error", sa.String(64), nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
        sa.Column("started_at", sa.Float, nullable=True),
        sa.Column("ended_at", sa.Float, nullable=True),
    )
    op.create_table(
        "last_jobs",
        sa.Column("model_id", sa.String(128), primary_key=True),
        sa.Column("job_id", sa.String(128), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
