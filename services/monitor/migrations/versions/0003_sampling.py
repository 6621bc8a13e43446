"""Rows that a log's sample left out, labels of such rows, and the features of a window that were redacted."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; until now everything was logged."""
    op.add_column("watermarks", sa.Column("sampled_out", sa.Text, nullable=False, server_default="{}"))
    op.add_column("windows", sa.Column("redacted", sa.Text, nullable=False, server_default="[]"))
    for name in ("sampled_out", "labels_left_out"):
        op.add_column("tallies", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
