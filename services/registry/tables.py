"""The registry's tables. Times are seconds since 1970 (UTC); documents are JSON text.

A version's row never changes but for its stage, its annotations (description, changes, tags) and the mark that its
bytes are gone. No record is ever deleted. `version_metrics`, `version_tags` and `version_words` repeat what the rows
hold, for searching.
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
    sa.Column("framework", sa.String(64), nullable=False, server_default=""),
    sa.Column("description", sa.Text, nullable=False, server_default=""),
    sa.Column("changes", sa.Text, nullable=False, server_default=""),
    sa.Column("tags", sa.Text, nullable=False, server_default="{}"),
    sa.Column("job_id", MODEL_ID, nullable=True),
    sa.Column("experiment_id", MODEL_ID, nullable=True),
    sa.Column("dataset_digest", sa.Text, nullable=True),
    sa.Column("bytes_dropped_at", sa.Float, nullable=True),
    sa.UniqueConstraint("model_id", "record_digest", name="versions_record"),
    sa.Index("versions_order", "model_id", "major", "minor", "patch", unique=True),
    sa.Index("versions_content", "model_id", "content_digest"),
    sa.Index("versions_stage", "stage", "model_id"),
    sa.Index("versions_newest", "registered_at", "model_id", "version"),
    sa.Index(
        "versions_one_in_production",
        "model_id",
        unique=True,
        sqlite_where=sa.text("stage = 'production'"),
        postgresql_where=sa.text("stage = 'production'"),
    ),
)

version_metrics = sa.Table(
    "version_metrics",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Index("version_metrics_value", "name", "value", "model_id", "version"),
)

version_tags = sa.Table(
    "version_tags",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Index("version_tags_value", "name", "value", "model_id", "version"),
)

aliases = sa.Table(
    "aliases",
    metadata,
    sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("alias", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Index("aliases_of_version", "model_id", "version"),
)

alias_moves = sa.Table(
    "alias_moves",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("alias", MODEL_ID, nullable=False),
    sa.Column("version", VERSION, nullable=True),
    sa.Column("previous_version", VERSION, nullable=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Index("alias_moves_of_model", "model_id", "alias", "seq"),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),  # "*": for every model without one of its own
    sa.Column("revision", sa.BigInteger, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

approvals = sa.Table(
    "approvals",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("version", VERSION, nullable=False),
    sa.Column("stage", sa.String(16), nullable=False),
    sa.Column("decision", sa.String(16), nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("comment", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("approvals_of_version", "model_id", "version", "stage", "seq"),
)

checks = sa.Table(
    "checks",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("model_id", MODEL_ID, nullable=False),
    sa.Column("version", VERSION, nullable=False),
    sa.Column("name", MODEL_ID, nullable=False),
    sa.Column("passed", sa.Boolean, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Index("checks_of_version", "model_id", "version", "name", "seq"),
)

controls = sa.Table(
    "controls",
    metadata,
    sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("control_id", MODEL_ID, primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

signers = sa.Table(
    "signers",
    metadata,
    sa.Column("key_sha256", SHA256, primary_key=True),  # of the public key (DER, SubjectPublicKeyInfo)
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("public_key", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("revoked_at", sa.Float, nullable=True),
)

signatures = sa.Table(
    "signatures",
    metadata,
    sa.Column("model_id", MODEL_ID, primary_key=True),
    sa.Column("version", VERSION, primary_key=True),
    sa.Column("key_sha256", SHA256, primary_key=True),
    sa.Column("bundle", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
)

inspections = sa.Table(
    "inspections",
    metadata,
    sa.Column("sha256", SHA256, primary_key=True),
    sa.Column("inspector", sa.Integer, primary_key=True),
    sa.Column("interface", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

condemned = sa.Table(
    "condemned",
    metadata,
    sa.Column("sha256", SHA256, primary_key=True),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("claimed_at", sa.Float, nullable=True),
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
