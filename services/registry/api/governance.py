"""What the registry's routes answer about aliases, policies, approvals, checks, controls and gates."""

from datetime import datetime
from typing import Any, Literal

import sqlalchemy as sa

from schemas.base import Document, Name, UtcTime, Version
from schemas.events import Decision, Stage
from services.registry.api.parts import time_of
from services.registry.governance import controls
from services.registry.governance.checklist import Control, ControlState
from services.registry.governance.gates import Gate
from services.registry.governance.policies import Kept
from services.registry.governance.policy import Policy


class AliasDocument(Document):
    """An alias and the version that it names."""

    model_id: Name
    alias: Name
    version: Version
    at: UtcTime
    actor: str


class AliasMove(Document):
    """One entry of an alias's history; without `version` it was removed."""

    version: Version | None
    previous_version: Version | None
    at: UtcTime
    actor: str
    comment: str


class PolicyDocument(Document):
    """The policy that holds, and where it comes from. `revision` counts what was written here; 0: nothing ever."""

    model_id: Name | None
    source: Literal["model", "default", "built-in"]
    revision: int
    policy: Policy


class ApprovalDocument(Document):
    """What somebody said about moving a version to a stage."""

    version: Version
    stage: Stage
    decision: Decision
    actor: str
    comment: str
    at: UtcTime


class CheckDocument(Document):
    """A result of a check of a version."""

    version: Version
    name: Name
    passed: bool
    detail: str
    actor: str
    at: UtcTime


class GateDocument(Document):
    """One condition before a stage: whether it is met, in words, and by whom."""

    gate: str
    met: bool
    says: str
    by: tuple[str, ...]


class ControlDocument(Control):
    """An entry of the checklist. `counts_as` is its state now: open once it has expired."""

    control_id: Name
    counts_as: ControlState
    changed_at: UtcTime
    changed_by: str


def alias_document(row: sa.Row[Any]) -> AliasDocument:
    """The document of an alias's row."""
    return AliasDocument(
        model_id=row.model_id, alias=row.alias, version=row.version, at=time_of(row.at), actor=row.actor
    )


def alias_move(row: sa.Row[Any]) -> AliasMove:
    """The document of one of its moves."""
    return AliasMove(
        version=row.version,
        previous_version=row.previous_version,
        at=time_of(row.at),
        actor=row.actor,
        comment=row.comment,
    )


def policy_document(model_id: str | None, kept: Kept) -> PolicyDocument:
    """The document of a policy; without `model_id` it is the default."""
    return PolicyDocument(model_id=model_id, source=kept.source, revision=kept.revision, policy=kept.policy)


def approval_document(row: sa.Row[Any]) -> ApprovalDocument:
    """The document of a decision's row."""
    return ApprovalDocument(
        version=row.version,
        stage=row.stage,
        decision=row.decision,
        actor=row.actor,
        comment=row.comment,
        at=time_of(row.at),
    )


def check_document(row: sa.Row[Any]) -> CheckDocument:
    """The document of a check's row."""
    return CheckDocument(
        version=row.version,
        name=row.name,
        passed=row.passed,
        detail=row.detail,
        actor=row.actor,
        at=time_of(row.at),
    )


def gate_document(gate: Gate) -> GateDocument:
    """The document of a gate."""
    return GateDocument(gate=gate.gate, met=gate.met, says=gate.says, by=gate.by)


def control_document(row: sa.Row[Any], now: datetime) -> ControlDocument:
    """The document of a control's row, as it counts at `now`."""
    control = controls.control_of(row)
    return ControlDocument(
        **{name: getattr(control, name) for name in Control.model_fields},
        control_id=row.control_id,
        counts_as=control.standing(now),
        changed_at=time_of(row.at),
        changed_by=row.actor,
    )
