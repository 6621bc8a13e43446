"""What the gates look at, gathered within one transaction."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from schemas.events import Decision, Stage
from services.registry import approvals, checks, controls
from services.registry.gates import CheckFact, Facts, Gate, gates_of
from services.registry.policies import effective
from services.registry.tables import signatures, signers


def facts_of(connection: sa.Connection, row: sa.Row[Any], stage: Stage, now: datetime) -> Facts:
    """The facts about a version's row on its way to `stage`."""
    model_id, version = row.model_id, row.version
    words = approvals.standing(connection, model_id, version, stage)
    return Facts(
        registered_by=row.registered_by,
        now=now,
        asked=approvals.who_asked(connection, model_id, version, stage),
        approved=tuple(word.actor for word in words if word.decision == Decision.APPROVE.value),
        rejected={word.actor: word.comment for word in words if word.decision == Decision.REJECT.value},
        checks={
            check.name: CheckFact(check.passed, check.actor, check.detail)
            for check in checks.latest_checks(connection, model_id, version)
        },
        signers=_signers(connection, model_id, version),
        controls=[
            (entry.control_id, controls.control_of(entry)) for entry in controls.list_controls(connection, model_id)
        ],
        parent=row.parent_version,
        changes=row.changes,
    )


def gates_before(connection: sa.Connection, row: sa.Row[Any], stage: Stage, now: datetime) -> list[Gate]:
    """Every gate between a version's row and `stage`, by the policy that holds now."""
    policy = effective(connection, row.model_id).policy.of(stage)
    return gates_of(stage, policy, facts_of(connection, row, stage, now))


def _signers(connection: sa.Connection, model_id: str, version: str) -> tuple[str, ...]:
    valid = (signatures.c.key_sha256 == signers.c.key_sha256) & signers.c.revoked_at.is_(None)
    query = sa.select(signers.c.name).join(signatures, valid)
    query = query.where(signatures.c.model_id == model_id, signatures.c.version == version)
    return tuple(sorted(set(connection.execute(query).scalars())))
