"""Aliases, policies, approvals, checks, controls, signatures, searching, and the collection of garbage.

Frozen: a later change is a revision of its own.
"""

import json
import re
import unicodedata

import sqlalchemy as sa
from alembic import op

from services.kernel.errors import Misconfigured

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
        sa.Column("seq", sa.BigInteger, nullable=False, server_default="0"),
    ):
        op.add_column("versions", column)
    op.drop_index("versions_content", "versions")  # nothing is looked up by it
    _create_search_tables(op.get_bind())
    op.create_table(
        "aliases",
        sa.Column("model_id", MODEL_ID, sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("alias", MODEL_ID, primary_key=True),
        sa.Column("version", VERSION, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
    )
    op.create_index("aliases_of_version", "aliases", ["model_id", "version"])
    op.create_index("aliases_named", "aliases", ["alias"])
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
        sa.Column("text_sha256", SHA256, nullable=False),
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
        "blob_holders",
        sa.Column("sha256", SHA256, primary_key=True),
        sa.Column("artifact", sa.Text, primary_key=True),
    )
    op.create_index("blob_holders_of_artifact", "blob_holders", ["artifact"])
    op.create_index("versions_artifact", "versions", ["artifact"])
    op.create_table(
        "condemned",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("claimed_at", sa.Float, nullable=True),
    )
    _repeat_manifests(op.get_bind())
    _create_search_indexes(op.get_bind())


def _create_search_tables(connection: sa.Connection) -> None:
    """Number the versions in the order of their registration, and make what is searched."""
    sqlite = connection.dialect.name == "sqlite"
    registered = "(SELECT a.seq FROM audit a WHERE a.action = 'model.registered' AND a.entity = "
    connection.exec_driver_sql("CREATE INDEX audit_registered ON audit (entity, action)")
    connection.exec_driver_sql(
        f"UPDATE versions SET seq = coalesce({registered} versions.model_id || ':' || versions.version), 0)"  # noqa: S608 - ours
    )
    connection.exec_driver_sql("DROP INDEX audit_registered")
    op.create_table(
        "version_metrics",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("version_metrics_value", "version_metrics", ["name", "value", "seq"])
    op.create_table(
        "version_tags",
        sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(256), primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("head", sa.String(64), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("version_tags_value", "version_tags", ["name", "head", "seq"])
    if sqlite:
        if connection.exec_driver_sql("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").first() is None:
            raise Misconfigured(
                "this Python's SQLite cannot search text (it has no FTS5): use a Python that can, such as those of "
                "python.org, uv, conda and Debian, or PostgreSQL (TRIMTAB_DATABASE_URL)"
            )
        connection.exec_driver_sql(
            "CREATE VIRTUAL TABLE version_words USING fts5(words, tokenize='ascii', detail='none', columnsize=0)"
        )
    else:
        connection.exec_driver_sql("CREATE TABLE version_words (seq bigint PRIMARY KEY, words tsvector NOT NULL)")
        connection.exec_driver_sql(
            "CREATE INDEX version_words_any ON version_words USING gin (words) WITH (fastupdate = off)"
        )


def _create_search_indexes(connection: sa.Connection) -> None:
    op.create_index("versions_of_model", "versions", ["model_id", "seq"])
    op.create_index("versions_number", "versions", ["major", "minor", "patch", "seq"])
    op.create_index("versions_registered", "versions", ["registered_at", "seq"])
    op.create_index("versions_job", "versions", ["job_id"])
    op.create_index("versions_experiment", "versions", ["experiment_id"])
    op.create_index("versions_parent", "versions", ["model_id", "parent_version"])
    op.create_index("versions_dataset", "versions", ["dataset_digest"], postgresql_using="hash")
    if connection.dialect.name == "sqlite":
        op.create_index("versions_facts", "versions", FACTS)
        op.create_index("versions_by_model", "versions", ["model_id", "major", "minor", "patch", "seq"])
    else:
        op.create_index("versions_seq", "versions", ["seq"], unique=True)
        order: list[str | sa.TextClause] = [sa.text('model_id COLLATE "C"'), "major", "minor", "patch", "seq"]
        op.create_index("versions_by_model", "versions", order)


def _repeat_manifests(connection: sa.Connection) -> None:
    """Copy what the manifests say to where it is searched; a page of versions at a time."""
    versions = sa.table(
        "versions", *(sa.column(name) for name in ("model_id", "version", "seq", "artifact", "manifest", *COPIED))
    )
    metrics = sa.table("version_metrics", *map(sa.column, ("seq", "name", "value")))
    tags = sa.table("version_tags", *map(sa.column, ("seq", "name", "value", "head")))
    holders = sa.table("blob_holders", sa.column("sha256"), sa.column("artifact"))
    last, unaudited = ("", ""), 0
    key = sa.tuple_(versions.c.model_id, versions.c.version)
    while True:
        page = connection.execute(
            sa.select(versions.c.model_id, versions.c.version, versions.c.seq, versions.c.artifact, versions.c.manifest)
            .where(key > sa.tuple_(*last))
            .order_by(versions.c.model_id, versions.c.version)
            .limit(500)
        ).all()
        if not page:
            return
        for model_id, version, seq, artifact, text in page:
            manifest = json.loads(text)
            digests = {file["sha256"] for file in manifest["files"]}
            connection.execute(holders.insert(), [{"sha256": each, "artifact": artifact} for each in digests])
            lineage = manifest.get("lineage") or {}
            if seq == 0:
                seq = unaudited = unaudited - 1
            found = {
                "seq": seq,
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
            named = {name: value for name, value in manifest.get("metrics", {}).items() if value is not None}
            rows = [{"seq": seq, "name": name, "value": value} for name, value in named.items() if len(name) <= 256]
            if rows:
                connection.execute(metrics.insert(), rows)
            given = {name: value for name, value in manifest.get("tags", {}).items() if len(name) <= 256}
            rows = [{"seq": seq, "name": name, "value": value, "head": value[:64]} for name, value in given.items()]
            if rows:
                connection.execute(tags.insert(), rows)
            texts = (model_id, manifest.get("model_name", ""), found["description"], found["changes"])
            _write_words(connection, seq, " ".join((*texts, *given, *given.values())))
        last = (page[-1].model_id, page[-1].version)


def _write_words(connection: sa.Connection, seq: int, text: str) -> None:
    """As `services.registry.search.text` did when this revision was made."""
    found = re.findall(r"[^\W_]+", unicodedata.normalize("NFKC", text).casefold())
    words = list(dict.fromkeys(word[:64] for word in found))
    if connection.dialect.name == "sqlite":
        statement = sa.text("INSERT INTO version_words (rowid, words) VALUES (:seq, :words)")
        connection.execute(statement, {"seq": seq, "words": " ".join(words)})
    else:
        statement = sa.text("INSERT INTO version_words (seq, words) VALUES (:seq, array_to_tsvector(:words))")
        connection.execute(statement, {"seq": seq, "words": words})


COPIED = ("framework", "description", "changes", "tags", "job_id", "experiment_id", "dataset_digest")
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
