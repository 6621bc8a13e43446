"""Aliases, policies, approvals, checks, controls, signatures, searching, and the collection of garbage.

Frozen: a later change is a revision of its own.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

MODEL_ID = sa.String(128)
VERSION = sa.String(32)
SHA256 = sa.String(64)
BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, and fill what repeats the manifests."""
    for column in (
        sa.Column("framework", sa.String(64), nullable=False, server_default=""),
        sa.Column("description", sa.Text, nullable=False, server_default=""),
        sa.Column("changes", sa.Text, nullable=False, server_default=""),
        sa.Column("tags", sa.Text, nullable=False, server_default="{}"),
        sa.Column("job_id", MODEL_ID, nullable=True),
        sa.Column("experiment_id", MODEL_ID, nullable=True),
        sa.Column("dataset_digest", sa.Text, nullable=True),
        sa.Column("bytes_dropped_at", sa.Float, nullable=True),
    ):
        op.add_column("versions", column)
    op.create_index("versions_newest", "versions", ["registered_at", "model_id", "version"])
    op.create_table(
        "version_metrics",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
    )
    op.create_index("version_metrics_value", "version_metrics", ["name", "value", "model_id", "version"])
    op.create_table(
        "version_tags",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    op.create_index("version_tags_value", "version_tags", ["name", "value", "model_id", "version"])
    op.create_table(
        "aliases",
        sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("alias", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_index("aliases_of_version", "aliases", ["model_id", "version"])
    op.create_table(
        "alias_moves",
        sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
        sa.Column("model_id", MODEL_ID, nullable=False),
        sa.Column("alias", MODEL_ID, nullable=False),
        sa.Column("version", VERSION, nullable=True),
        sa.Column("previous_version", VERSION, nullable=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
    )
    op.create_index("alias_moves_of_model", "alias_moves", ["model_id", "alias", "seq"])
    op.create_table(
        "policies",
        sa.Column("model_id", MODEL_ID, primary_key=True),  # "*": for every model without one of its own
        sa.Column("revision", sa.BigInteger, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "approvals",
        sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
        sa.Column("model_id", MODEL_ID, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("approvals_of_version", "approvals", ["model_id", "version", "stage", "seq"])
    op.create_table(
        "checks",
        sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
        sa.Column("model_id", MODEL_ID, nullable=False),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("name", MODEL_ID, nullable=False),
        sa.Column("passed", sa.Boolean, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("checks_of_version", "checks", ["model_id", "version", "name", "seq"])
    op.create_table(
        "controls",
        sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("control_id", MODEL_ID, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "signers",
        sa.Column("key_sha256", SHA256, primary_key=True),  # of the public key (DER, SubjectPublicKeyInfo)
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("revoked_at", sa.Float, nullable=True),
    )
    op.create_table(
        "signatures",
        sa.Column("model_id", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, primary_key=True),
        sa.Column("key_sha256", SHA256, primary_key=True),
        sa.Column("bundle", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_table(
        "inspections",
        sa.Column("sha256", SHA256, primary_key=True),
        sa.Column("inspector", sa.Integer, primary_key=True),
        sa.Column("interface", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_table(
        "condemned",
        sa.Column("sha256", SHA256, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("claimed_at", sa.Float, nullable=True),
    )
    _repeat_manifests(op.get_bind())


def _repeat_manifests(connection: sa.Connection) -> None:
    """Copy what the manifests say to where it is searched; a page of versions at a time."""
    versions = sa.table("versions", *(sa.column(name) for name in ("model_id", "version", "manifest", *COPIED)))
    metrics = sa.table("version_metrics", *map(sa.column, ("model_id", "version", "name", "value")))
    tags = sa.table("version_tags", *map(sa.column, ("model_id", "version", "name", "value")))
    last = ("", "")
    key = sa.tuple_(versions.c.model_id, versions.c.version)
    while True:
        page = connection.execute(
            sa.select(versions.c.model_id, versions.c.version, versions.c.manifest)
            .where(key > sa.tuple_(*last))
            .order_by(versions.c.model_id, versions.c.version)
            .limit(500)
        ).all()
        if not page:
            return
        for model_id, version, text in page:
            manifest = json.loads(text)
            lineage = manifest.get("lineage") or {}
            found = {
                "framework": manifest["framework"],
                "description": manifest.get("description", ""),
                "changes": manifest.get("changes", ""),
                "tags": json.dumps(manifest.get("tags", {}), sort_keys=True),
                "job_id": lineage.get("job_id"),
                "experiment_id": lineage.get("experiment_id"),
                "dataset_digest": lineage.get("dataset_digest"),
            }
            mine = (versions.c.model_id == model_id) & (versions.c.version == version)
            connection.execute(versions.update().where(mine).values(**found))
            for table, values in ((metrics, manifest.get("metrics", {})), (tags, manifest.get("tags", {}))):
                rows = [
                    {"model_id": model_id, "version": version, "name": name, "value": value}
                    for name, value in values.items()
                    if value is not None
                ]
                if rows:
                    connection.execute(table.insert(), rows)
        last = (page[-1].model_id, page[-1].version)


COPIED = ("framework", "description", "changes", "tags", "job_id", "experiment_id", "dataset_digest")
