"""The audit trail: who changed what, when and why; append-only, each row chained to the one before by SHA-256.

A row's digest covers its number, its content and the digest of the row before. Changing or removing a row breaks
the chain at that place, which `broken_at` finds.
"""

import hashlib
import json
from typing import Any

import sqlalchemy as sa

from services.kernel.tables import revisions
from services.kernel.uow import UnitOfWork
from services.registry.tables import audit

GENESIS = "0" * 64
"""What the first row is chained to."""


_DIGEST_AT = sa.select(audit.c.sha256).where(audit.c.seq == sa.bindparam("at"))
_APPEND = audit.insert()
# Statements are made once: making one, and finding how it was compiled, takes longer than running it.


def record(uow: UnitOfWork, actor: str, action: str, entity: str, **facts: Any) -> int:
    """Append one change, in the transaction that makes it; returns the row's number."""
    seq = uow.next_revision("audit", "")
    previous = uow.connection.execute(_DIGEST_AT, {"at": seq - 1}).scalar()
    row = {
        "seq": seq,
        "at": uow.now().timestamp(),
        "actor": actor,
        "action": action,
        "entity": entity,
        "facts": json.dumps(facts, sort_keys=True),
        "previous_sha256": previous or GENESIS,
    }
    uow.connection.execute(_APPEND, {**row, "sha256": _digest(row)})
    return seq


def broken_at(connection: sa.Connection) -> int | None:
    """The number of the first row that does not continue the chain, or is missing; None when all are there and do.

    O(rows), in constant memory. A chain that was cut at its end is told by the number of the last row ever written.
    """
    previous, expected = GENESIS, 1
    query = sa.select(audit).order_by(audit.c.seq).execution_options(yield_per=1_000)
    with connection.execute(query) as rows:
        for row in rows.mappings():
            content = {name: value for name, value in row.items() if name != "sha256"}
            if row["seq"] != expected or row["previous_sha256"] != previous or row["sha256"] != _digest(content):
                return expected
            previous, expected = row["sha256"], expected + 1
    return expected if expected <= last_seq(connection) else None


def last_seq(connection: sa.Connection) -> int:
    """The number of the last row that was ever written; 0: none was."""
    query = sa.select(revisions.c.revision).where(revisions.c.kind == "audit", revisions.c.entity == "")
    return int(connection.execute(query).scalar() or 0)


def _digest(row: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
