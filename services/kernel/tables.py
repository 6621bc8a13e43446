"""The tables that every service has: outbox, inbox, revisions, leases, idempotency keys."""

from typing import Protocol

import sqlalchemy as sa

metadata = sa.MetaData()

BigKey = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("seq", BigKey, primary_key=True, autoincrement=True),
    sa.Column("id", sa.String(64), nullable=False),
    sa.Column("topic", sa.String(128), nullable=False),
    sa.Column("key", sa.String(256), nullable=False),
    sa.Column("headers", sa.Text, nullable=False),
    sa.Column("body", sa.LargeBinary, nullable=True),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("published_at", sa.Float, nullable=True),
    sa.Column("parked", sa.Text, nullable=True),
    sa.Index(
        "outbox_unpublished",
        "seq",
        sqlite_where=sa.text("published_at IS NULL AND parked IS NULL"),
        postgresql_where=sa.text("published_at IS NULL AND parked IS NULL"),
    ),
)

inbox = sa.Table(
    "inbox",
    metadata,
    sa.Column("handler", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(256), primary_key=True),  # before `source`: looked up by (handler, id)
    sa.Column("source", sa.String(256), primary_key=True),
    sa.Column("at", sa.Float, nullable=False),
    sqlite_with_rowid=False,
)

passed_revisions = sa.Table(
    "passed_revisions",
    metadata,
    sa.Column("handler", sa.String(64), primary_key=True),
    sa.Column("entity", sa.String(256), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

revisions = sa.Table(
    "revisions",
    metadata,
    sa.Column("kind", sa.String(64), primary_key=True),
    sa.Column("entity", sa.String(256), primary_key=True),
    sa.Column("revision", sa.BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("holder", sa.String(128), nullable=False),
    sa.Column("epoch", sa.BigInteger, nullable=False),
    sa.Column("expires_at", sa.Float, nullable=False),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("route", sa.String(128), primary_key=True),
    sa.Column("key", sa.String(256), primary_key=True),
    sa.Column("request_sha256", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("response", sa.Text, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
)


class Bound(Protocol):
    """What a migration knows as `alembic.op`."""

    def get_bind(self) -> sa.Connection:
        """The connection of the running migration."""


def create_kernel_tables(op: Bound) -> None:
    """What every service's first migration calls. Frozen: a later change of these tables is a migration of its own."""
    metadata.create_all(op.get_bind(), checkfirst=False)
