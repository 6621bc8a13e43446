"""The first tables of the registry. Frozen: a later change is a revision of its own."""

import sqlalchemy as sa
from alembic import op

from services.kernel.tables import create_kernel_tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

MODEL_ID = sa.String(128)
VERSION = sa.String(32)
SHA256 = sa.String(64)
BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the kernel's tables and the registry's."""
    create_kernel_tables(op)
    op.create_table(
        "models",
        sa.Column("id", MODEL_ID, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("model_type", MODEL_ID, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("major", sa.Integer, nullable=False),
        sa.Column("minor", sa.Integer, nullable=False),
        sa.Column("patch", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("stage_since", sa.Float, nullable=False),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("manifest", sa.Text, nullable=False),
        sa.Column("manifest_digest", SHA256, nullable=False),
        sa.Column("content_digest", SHA256, nullable=False),
        sa.Column("record_digest", SHA256, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("parent_version", VERSION, nullable=True),
        sa.Column("registered_at", sa.Float, nullable=False),
        sa.Column("registered_by", sa.Text, nullable=False),
        sa.UniqueConstraint("model_id", "record_digest", name="versions_record"),
    )
    op.create_index("versions_order", "versions", ["model_id", "major", "minor", "patch"], unique=True)
    op.create_index("versions_content", "versions", ["model_id", "content_digest"])
    op.create_index("versions_stage", "versions", ["stage", "model_id"])
    op.create_index(
        "versions_one_in_production",
        "versions",
        ["model_id"],
        unique=True,
        sqlite_where=sa.text("stage = 'production'"),
        postgresql_where=sa.text("stage = 'production'"),
    )
    op.create_table(
        "stage_moves",
        sa.Column("seq", BIG_KEY, primary_key=True, autoincrement=True),
        sa.Column("model_id", MODEL_ID, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("from_stage", sa.String(16), nullable=True),
        sa.Column("to_stage", sa.String(16), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("replaced_version", VERSION, nullable=True),
    )
    op.create_index("stage_moves_of_model", "stage_moves", ["model_id", "seq"])
    op.create_table(
        "registrations",
        sa.Column("seq", BIG_KEY, primary_key=True, autoincrement=True),
        sa.Column("model_id", MODEL_ID, nullable=False),
        sa.Column("job_id", MODEL_ID, nullable=False),
        sa.Column("artifact", sa.Text, nullable=False),
        sa.Column("manifest_digest", SHA256, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("envelope", sa.Text, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("next_try_at", sa.Float, nullable=False),
        sa.Column("version", VERSION, nullable=True),
        sa.Column("error", sa.Text, nullable=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.UniqueConstraint("artifact", "manifest_digest", name="registrations_artifact"),
    )
    op.create_index("registrations_of_model", "registrations", ["model_id", "seq"])
    op.create_index(
        "registrations_pending",
        "registrations",
        ["next_try_at"],
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_table(
        "deployments",
        sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("restores", sa.BigInteger, nullable=True),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "api_keys",
        sa.Column("key_id", sa.String(64), primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", SHA256, nullable=False, unique=True),
        sa.Column("scopes", sa.Text, nullable=False),
        sa.Column("model_prefixes", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("created_by", sa.Text, nullable=False),
        sa.Column("revoked_at", sa.Float, nullable=True),
    )
    op.create_table(
        "audit",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("entity", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("previous_sha256", SHA256, nullable=False),
        sa.Column("sha256", SHA256, nullable=False),
    )
