"""The registry's tables. Times are seconds since 1970 (UTC); documents are JSON text.

A version's row never changes but for its stage. Nothing is ever deleted.
"""

import sqlalchemy as sa

from services.kernel.tables import BigKey

metadata = sa.MetaData()

MODEL_ID = sa.String(128)
VERSION = sa.String(32)
SHA256 = sa.String(64)

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", MODEL_ID, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("model_type", MODEL_ID, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
)

versions = sa.Table(
    "versions",
    metadata,
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
    sa.Index("versions_order", "model_id", "major", "minor", "patch", unique=True),
    sa.Index("versions_content", "model_id", "content_digest"),
    sa.Index("versions_stage", "stage", "model_id"),
    sa.Index(
        "versions_one_in_production",
        "model_id",
        unique=True,
        sqlite_where=sa.text("stage = 'production'"),
        postgresql_where=sa.text("stage = 'production'"),
    ),
)

stage_moves = sa.Table(
    "stage_moves",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("version", VERSION, nullable=False),
    sa.Column("from_stage", sa.String(16), nullable=True),
    sa.Column("to_stage", sa.String(16), nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("replaced_version", VERSION, nullable=True),
    sa.Index("stage_moves_of_model", "model_id", "seq"),
)

registrations = sa.Table(
    "registrations",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
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
    sa.Index("registrations_of_model", "model_id", "seq"),
    sa.Index(
        "registrations_pending",
        "next_try_at",
        sqlite_where=sa.text("state = 'pending'"),
        postgresql_where=sa.text("state = 'pending'"),
    ),
)

deployments = sa.Table(
    "deployments",
    metadata,
    sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("restores", sa.BigInteger, nullable=True),
    sa.Column("at", sa.Float, nullable=False),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("key_id", sa.String(64), primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("sha256", SHA256, nullable=False, unique=True),
    sa.Column("scopes", sa.Text, nullable=False),
    sa.Column("model_prefixes", sa.Text, nullable=False),
    sa.Column("created_at", sa.Float, nullable=False),
    sa.Column("created_by", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.Float, nullable=True),
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("action", sa.String(64), nullable=False),
    sa.Column("entity", sa.Text, nullable=False),
    sa.Column("facts", sa.Text, nullable=False),
    sa.Column("previous_sha256", SHA256, nullable=False),
    sa.Column("sha256", SHA256, nullable=False),
)
