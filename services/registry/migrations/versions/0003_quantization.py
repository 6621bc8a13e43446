"""What was found out of the smaller graphs of versions.

Frozen: a later change is a revision of its own.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

SHA256 = sa.String(64)


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "quantizations",
        sa.Column("model_sha256", SHA256, primary_key=True),
        sa.Column("sample_sha256", SHA256, primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("quantizer", sa.Integer, primary_key=True),
        sa.Column("graph_sha256", SHA256, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("report", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
