"""The registry's tables. Times are seconds since 1970 (UTC); documents are JSON text.

A version's row never changes but for its stage, its annotations (description, changes, tags) and the mark that its
bytes are gone. No record is ever deleted. `version_metrics` and `version_tags` repeat what the rows hold, for
searching, and so does `version_words`, another kind of table on every database (`search/text.py`). `versions.seq` grows
in the order in which registrations are committed.
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

FACTS = (
    *(
        "seq",
        "model_id",
        "version",
        "stage",
        "framework",
        "registered_at",
        "registered_by",
        "stage_since",
        "size_bytes",
    ),
    *("job_id", "experiment_id", "dataset_digest", "parent_version", "major", "minor", "patch"),
)
"""Columns of a version that a filter compares."""

NUMBER = ("major", "minor", "patch", "seq")

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
    sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),  # of the audit row that registered it
    sa.UniqueConstraint("model_id", "record_digest", name="versions_record"),
    sa.Index("versions_order", "model_id", "major", "minor", "patch", unique=True),
    sa.Index("versions_stage", "stage", "model_id"),
    sa.Index("versions_of_model", "model_id", "seq"),
    sa.Index("versions_number", "major", "minor", "patch", "seq"),
    sa.Index("versions_registered", "registered_at", "seq"),
    sa.Index("versions_job", "job_id"),
    sa.Index("versions_experiment", "experiment_id"),
    sa.Index("versions_parent", "model_id", "parent_version"),
    sa.Index("versions_dataset", "dataset_digest", postgresql_using="hash"),
    sa.Index("versions_artifact", "artifact"),
    sa.Index(
        "versions_one_in_production",
        "model_id",
        unique=True,
        sqlite_where=sa.text("stage = 'production'"),
        postgresql_where=sa.text("stage = 'production'"),
    ),
)

sa.Index("versions_seq", versions.c.seq, unique=True).ddl_if(dialect="postgresql")
sa.Index(  # SQLite reads a filter's columns from here; in the row itself they lie behind the manifest's pages
    "versions_facts",
    *(versions.c[name] for name in FACTS),
).ddl_if(dialect="sqlite")
sa.Index(  # in the order of bytes, whatever the database's language is
    "versions_by_model", versions.c.model_id.collate("C"), *(versions.c[name] for name in NUMBER)
).ddl_if(dialect="postgresql")
sa.Index("versions_by_model", versions.c.model_id, *(versions.c[name] for name in NUMBER)).ddl_if(dialect="sqlite")

version_metrics = sa.Table(
    "version_metrics",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("value", sa.Float, nullable=False),
    sa.Index("version_metrics_value", "name", "value", "seq"),
    sqlite_with_rowid=False,
)

version_tags = sa.Table(
    "version_tags",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(256), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("head", sa.String(64), nullable=False),  # of the value, for the index: a whole one may be too long
    sa.Index("version_tags_value", "name", "head", "seq"),
    sqlite_with_rowid=False,
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
    sa.Index("aliases_named", "alias"),
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
    sa.Column("text_sha256", SHA256, nullable=False),  # of the description and changes that it is about
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

quantizations = sa.Table(
    "quantizations",
    metadata,
    sa.Column("model_sha256", SHA256, primary_key=True),
    sa.Column("sample_sha256", SHA256, primary_key=True),  # of the baseline sample that the loss was measured on
    sa.Column("kind", sa.String(16), primary_key=True),
    sa.Column("quantizer", sa.Integer, primary_key=True),
    sa.Column("graph_sha256", SHA256, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("report", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)

blob_holders = sa.Table(
    "blob_holders",
    metadata,
    sa.Column("sha256", SHA256, primary_key=True),
    sa.Column("artifact", sa.Text, primary_key=True),  # the prefix of the manifest that names the bytes
    sa.Index("blob_holders_of_artifact", "artifact"),
)

condemned = sa.Table(
    "condemned",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),  # of a blob, or the prefix of a version that never came to be
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
