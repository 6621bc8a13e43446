"""What the gates look at, gathered within one transaction."""

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from schemas.events import Decision, JobSucceeded, Stage
from services.registry.annotations import text_sha256
from services.registry.governance import approvals, checks, controls
from services.registry.governance.gates import CheckFact, Facts, Gate, gates_of
from services.registry.governance.policies import effective
from services.registry.keeping import signing
from services.registry.tables import registrations


def facts_of(connection: sa.Connection, row: sa.Row[Any], stage: Stage, now: datetime) -> Facts:
    """The facts about a version's row on its way to `stage`."""
    model_id, version = row.model_id, row.version
    words = approvals.standing(connection, model_id, version, stage)
    text = text_sha256(row)
    approving = [word for word in words if word.decision == Decision.APPROVE.value]
    return Facts(
        registered_by=row.registered_by,
        requested_by=_requested_by(connection, row),
        now=now,
        asked=approvals.who_asked(connection, model_id, version, stage),
        approved=tuple(word.actor for word in approving if word.text_sha256 == text),
        outdated=tuple(word.actor for word in approving if word.text_sha256 != text),
        rejected={word.actor: word.comment for word in words if word.decision == Decision.REJECT.value},
        checks={
            check.name: CheckFact(check.passed, check.actor, check.detail)
            for check in checks.latest_checks(connection, model_id, version)
        },
        signers=tuple(signing.signed_by(connection, model_id, version)),
        controls=[
            (entry.control_id, controls.control_of(entry)) for entry in controls.list_controls(connection, model_id)
        ],
        parent=row.parent_version,
        changes=row.changes,
    )


def _requested_by(connection: sa.Connection, row: sa.Row[Any]) -> str:
    """Who asked for the training of which a trainer left these bytes; empty if it is no trainer's."""
    found = (registrations.c.artifact == row.artifact) & (registrations.c.manifest_digest == row.manifest_digest)
    message = connection.execute(sa.select(registrations.c.message).where(found)).scalar()
    return JobSucceeded.model_validate_json(message).requested_by if message is not None else ""


def gates_before(connection: sa.Connection, row: sa.Row[Any], stage: Stage, now: datetime) -> list[Gate]:
    """Every gate between a version's row and `stage`, by the policy that holds now."""
    policy = effective(connection, row.model_id).policy.of(stage)
    return gates_of(stage, policy, facts_of(connection, row, stage, now))
