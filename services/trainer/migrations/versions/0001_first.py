"""The first tables of the trainer. Frozen: a later change is a revision of its own."""

import sqlalchemy as sa
from alembic import op

from services.kernel.tables import create_kernel_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the kernel's tables and the trainer's."""
    create_kernel_tables(op)
    op.create_table(
        "jobs",
        sa.Column("job_id", sa.String(128), primary_key=True),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("register_as_version", sa.Boolean, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("requested_by", sa.Text, nullable=False),
        sa.Column("experiment_id", sa.String(128), nullable=True),
        sa.Column("trial", sa.Integer, nullable=True),
        sa.Column("cycle_id", sa.String(256), nullable=True),
        sa.Column("cause", sa.Text, nullable=True),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("fence", sa.Integer, nullable=False),
        sa.Column("worker", sa.String(128), nullable=True),
        sa.Column("lease_expires_at", sa.Float, nullable=True),
        sa.Column("not_before", sa.Float, nullable=False),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("cancel_reason", sa.Text, nullable=False),
        sa.Column("submitted_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float, nullable=True),
        sa.Column("ended_at", sa.Float, nullable=True),
        sa.Column("error", sa.String(64), nullable=True),
        sa.Column("detail", sa.Text, nullable=True),
        sa.Column("outcome", sa.Text, nullable=True),
    )
    op.create_index("jobs_by_state", "jobs", ["state", "submitted_at"])
    op.create_index("jobs_by_model", "jobs", ["model_id", "submitted_at"])
    op.create_table(
        "epochs",
        sa.Column("job_id", sa.String(128), primary_key=True),
        sa.Column("fence", sa.Integer, primary_key=True),
        sa.Column("epoch", sa.Integer, primary_key=True),
        sa.Column("epochs", sa.Integer, nullable=False),
        sa.Column("metrics", sa.Text, nullable=False),
        sa.Column("eta_seconds", sa.Float, nullable=True),
        sa.Column("at", sa.Float, nullable=False),
    )
