"""The kernel's tables and the probe's own."""

import sqlalchemy as sa
from alembic import op

from services.kernel.tables import create_kernel_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_kernel_tables(op)
    op.create_table(
        "effects",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("prediction_id", sa.String(256), nullable=False),
    )
