"""Approvals: who asked for a version's promotion, who approved it, who rejected it. Functions over one transaction.

Decisions are only ever appended. Of each actor the latest `approve` or `reject` counts, until the same person says
otherwise; an approval only as long as the version's description and changes are those that were approved.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.events import Alert, ApprovalDecided, Decision, Stage
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.annotations import text_sha256
from services.registry.tables import approvals
from services.registry.versions import find_version

Row = sa.Row[Any]


def decide(
    uow: UnitOfWork, model_id: str, version: str, stage: Stage, decision: Decision, *, actor: str, comment: str = ""
) -> Row:
    """Append what `actor` says about moving a version (or `@alias`) to `stage`. Raises `NotFound`.

    Asking raises an alert, so that somebody hears of it; the first word after it resolves it.
    """
    connection = uow.connection
    revision = uow.next_revision("model", model_id)
    row = find_version(connection, model_id, version)
    version = row.version
    waiting = _latest_of_all(connection, model_id, version, stage) is Decision.ASK
    seq = connection.execute(
        approvals.insert()
        .values(
            model_id=model_id,
            version=version,
            stage=stage.value,
            decision=decision.value,
            actor=actor,
            comment=comment,
            text_sha256=text_sha256(row),
            at=uow.now().timestamp(),
        )
        .returning(approvals.c.seq)
    ).scalar_one()
    audit.record(uow, actor, f"approval.{decision.value}", f"{model_id}:{version}", stage=stage.value, comment=comment)
    uow.publish(
        ApprovalDecided(
            model_id=model_id, version=version, stage=stage, decision=decision, actor=actor, comment=comment
        ),
        revision=revision,
    )
    if waiting is not (decision is Decision.ASK):
        _alert(uow, model_id, version, stage, decision, actor, comment)
    return connection.execute(sa.select(approvals).where(approvals.c.seq == seq)).one()


def list_decisions(
    connection: sa.Connection, model_id: str, version: str, *, before: int | None = None, limit: int = 100
) -> Sequence[Row]:
    """Everything that was said about a version, newest first; `before` is the `seq` of the last one seen."""
    query = sa.select(approvals).where(approvals.c.model_id == model_id, approvals.c.version == version)
    if before is not None:
        query = query.where(approvals.c.seq < before)
    return connection.execute(query.order_by(approvals.c.seq.desc()).limit(limit)).all()


def standing(connection: sa.Connection, model_id: str, version: str, stage: Stage) -> Sequence[Row]:
    """The latest `approve` or `reject` of each actor, by actor."""
    newest = (
        sa.select(sa.func.max(approvals.c.seq))
        .where(_about(model_id, version, stage), approvals.c.decision != Decision.ASK.value)
        .group_by(approvals.c.actor)
    )
    return connection.execute(sa.select(approvals).where(approvals.c.seq.in_(newest)).order_by(approvals.c.actor)).all()


def who_asked(connection: sa.Connection, model_id: str, version: str, stage: Stage) -> frozenset[str]:
    """Everybody who ever asked."""
    query = sa.select(approvals.c.actor).where(
        _about(model_id, version, stage), approvals.c.decision == Decision.ASK.value
    )
    return frozenset(connection.execute(query.distinct()).scalars())


def _about(model_id: str, version: str, stage: Stage) -> sa.ColumnElement[bool]:
    return (approvals.c.model_id == model_id) & (approvals.c.version == version) & (approvals.c.stage == stage.value)


def _latest_of_all(connection: sa.Connection, model_id: str, version: str, stage: Stage) -> Decision | None:
    query = sa.select(approvals.c.decision).where(_about(model_id, version, stage))
    found = connection.execute(query.order_by(approvals.c.seq.desc()).limit(1)).scalar()
    return Decision(found) if found is not None else None


def _alert(
    uow: UnitOfWork, model_id: str, version: str, stage: Stage, decision: Decision, actor: str, comment: str
) -> None:
    asked = decision is Decision.ASK
    why = f": {comment}" if comment else ""
    uow.publish(
        Alert(
            alert_id=f"approval-{model_id}-{version}-{stage.value}",
            model_id=model_id,
            state="raised" if asked else "resolved",
            severity="info",
            title=f"{model_id} {version} waits for approval to {stage.value}",
            detail=f"{actor} asked{why}" if asked else f"{actor} said {decision.value}{why}",
        )
    )
