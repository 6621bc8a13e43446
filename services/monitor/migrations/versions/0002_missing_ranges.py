"""Watermarks keep the ranges that never came, so that a replayed dead letter counts."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; what was missing before is not known any more."""
    op.add_column("watermarks", sa.Column("missing_ranges", sa.Text, nullable=False, server_default="[]"))
