"""A model's compliance, for an auditor: the checklist, what is in production, and who vouched for it."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from schemas.base import Document, Name, UtcTime, Version
from schemas.events import Stage
from services.registry.api.governance import (
    ApprovalDocument,
    CheckDocument,
    ControlDocument,
    GateDocument,
    PolicyDocument,
    approval_document,
    check_document,
    control_document,
    gate_document,
    policy_document,
)
from services.registry.api.parts import time_of
from services.registry.governance import approvals, checks, controls
from services.registry.governance.checklist import ControlState
from services.registry.governance.facts import facts_of
from services.registry.governance.gates import gates_of
from services.registry.governance.policies import effective
from services.registry.governance.policy import Policy, StagePolicy
from services.registry.insight.escaping import inline, line
from services.registry.versions import find_model, find_version, production_version


class InProduction(Document):
    """The version in production: the latest word of each approver, the latest result of each check, and the gates."""

    version: Version
    since: UtcTime
    registered_by: str
    manifest_digest: str
    signed_by: tuple[str, ...]
    approvals: list[ApprovalDocument]
    checks: list[CheckDocument]
    gates: list[GateDocument]


class ComplianceReport(Document):
    """The whole report. `compliant`: there are controls, none is open or expired, and one gates
    each stage that the policy asks compliance for."""

    model_id: Name
    model_name: str
    at: UtcTime
    compliant: bool
    controls: list[ControlDocument]
    policy: PolicyDocument
    production: InProduction | None


def report_of(connection: sa.Connection, model_id: str, now: datetime) -> ComplianceReport:
    """The report as of `now`. Raises `NotFound`."""
    model = find_model(connection, model_id)
    entries = [control_document(row, now) for row in controls.list_controls(connection, model_id)]
    kept = effective(connection, model_id)
    version = production_version(connection, model_id)
    return ComplianceReport(
        model_id=model_id,
        model_name=model.name,
        at=now,
        compliant=bool(entries)
        and all(entry.counts_as is not ControlState.OPEN for entry in entries)
        and not _ungated(kept.policy, entries),
        controls=entries,
        policy=policy_document(model_id, kept),
        production=_in_production(connection, model_id, version, kept.policy.production, now) if version else None,
    )


def markdown_of(report: ComplianceReport) -> str:
    """The report as a page to read."""
    lines = [
        f"# Compliance of {inline(report.model_name or report.model_id)}",
        "",
        f"Model `{report.model_id}`, as of {report.at:%Y-%m-%d %H:%M:%S} UTC: **{_verdict(report)}**.",
        "",
        "## In production",
        "",
        *_production_lines(report.production),
        "",
        "## Controls",
        "",
    ]
    for control in report.controls:
        lines += [*_control_lines(control, report.at), ""]
    if not report.controls:
        lines += ["There are none.", ""]
    return "\n".join(lines)


def _verdict(report: ComplianceReport) -> str:
    ungated = " and ".join(_ungated(report.policy.policy, report.controls))
    if not report.controls:
        return "the checklist is empty"
    if any(entry.counts_as is ControlState.OPEN for entry in report.controls):
        return "controls are open"
    if ungated:
        return f"the policy asks for compliance, but no control gates {ungated}"
    return "no control is open"


def _ungated(policy: Policy, entries: Sequence[ControlDocument]) -> list[str]:
    """The stages that the policy asks compliance for, and no control of the checklist gates."""
    asking = [stage for stage in (Stage.STAGING, Stage.PRODUCTION) if policy.of(stage).compliance]
    return [stage.value for stage in asking if not any(stage in entry.stages for entry in entries)]


def _in_production(
    connection: sa.Connection, model_id: str, version: str, policy: StagePolicy, now: datetime
) -> InProduction:
    row = find_version(connection, model_id, version)
    facts = facts_of(connection, row, Stage.PRODUCTION, now)
    words = approvals.standing(connection, model_id, version, Stage.PRODUCTION)
    return InProduction(
        version=version,
        since=time_of(row.stage_since),
        registered_by=row.registered_by,
        manifest_digest=row.manifest_digest,
        signed_by=facts.signers,
        approvals=[approval_document(word) for word in words],
        checks=[check_document(check) for check in checks.latest_checks(connection, model_id, version)],
        gates=[gate_document(gate) for gate in gates_of(Stage.PRODUCTION, policy, facts)],
    )


def _production_lines(production: InProduction | None) -> list[str]:
    if production is None:
        return ["No version is in production."]
    lines = [
        f"- version `{production.version}` since {production.since:%Y-%m-%d %H:%M:%S} UTC",
        f"- registered by {inline(production.registered_by)}, manifest SHA-256 `{production.manifest_digest}`",
        f"- signed by {inline(', '.join(production.signed_by)) or 'nobody'}",
    ]
    for word in production.approvals:
        why = f": {inline(word.comment)}" if word.comment else ""
        lines.append(f"- {word.decision.value} by {inline(word.actor)} on {word.at:%Y-%m-%d %H:%M:%S} UTC{why}")
    for check in production.checks:
        detail = f": {inline(check.detail)}" if check.detail else ""
        lines.append(f"- check {check.name} {'passed' if check.passed else 'FAILED'} ({inline(check.actor)}){detail}")
    for gate in production.gates:
        lines.append(f"- gate {inline(gate.gate)} {'met' if gate.met else 'NOT MET'}: {inline(gate.says)}")
    return lines


def _control_lines(control: ControlDocument, now: datetime) -> list[str]:
    state = "expired" if control.expired(now) else control.state.value
    lines = [f"### {control.control_id}: {inline(control.title)}", "", f"- state: **{state}**"]
    if control.reason:
        lines.append(f"- reason: {inline(control.reason)}")
    lines.append(f"- owner: {inline(control.owner)}")
    lines.append(f"- expires: {f'{control.expires_at:%Y-%m-%d %H:%M:%S} UTC' if control.expires_at else 'never'}")
    lines.append(f"- gates: {', '.join(control.stages) or 'nothing'}")
    lines.append(f"- changed: {control.changed_at:%Y-%m-%d %H:%M:%S} UTC by {inline(control.changed_by)}")
    if control.description:
        lines.append(f"- {line(control.description)}")
    lines += [f"- evidence: {inline(each)}" for each in control.evidence] or ["- evidence: none"]
    return lines
