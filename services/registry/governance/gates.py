"""What stands between a version and a stage. Pure: from a policy and the facts to gates, met or not, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from schemas.events import Stage
from services.registry.governance.checklist import Control, ControlState
from services.registry.governance.policy import StagePolicy


@dataclass(frozen=True)
class CheckFact:
    """The latest result of one check."""

    passed: bool
    actor: str
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """All that gates look at, of one version and one stage.

    `requested_by` asked for the training that made the version; empty: none did, or nobody knows who.
    `approved`, `outdated` and `rejected` hold each person's latest word, `asked` everybody who ever asked. Who is in
    `outdated` approved another description or other changes than there are now. `parent` is the version that this one
    differs from by `changes`; `signers` are the names whose signatures are valid now.
    """

    registered_by: str
    now: datetime
    requested_by: str = ""
    asked: frozenset[str] = frozenset()
    approved: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    rejected: Mapping[str, str] = field(default_factory=dict)
    checks: Mapping[str, CheckFact] = field(default_factory=dict)
    signers: tuple[str, ...] = ()
    controls: Sequence[tuple[str, Control]] = ()
    parent: str | None = None
    changes: str = ""


@dataclass(frozen=True)
class Gate:
    """One condition. `says` is a sentence; `by` are those who met it, or stand against it."""

    gate: str
    met: bool
    says: str
    by: tuple[str, ...] = ()


def gates_of(stage: Stage, policy: StagePolicy, facts: Facts) -> list[Gate]:
    """Every gate before `stage`; the version may pass when all are met. What was rejected never passes."""
    found = [_rejections(facts)] if facts.rejected else []
    if policy.approvals:
        found.append(_approvals(policy, facts))
    found += [_check(name, facts.checks.get(name)) for name in dict.fromkeys(policy.required_checks)]
    if policy.require_signature:
        found.append(_signature(policy, facts))
    if policy.compliance:
        found += _compliance(stage, facts)
    if policy.require_changes and facts.parent is not None:
        found.append(_changes(facts.parent, facts.changes, before_approval=policy.approvals > 0))
    return found


def unmet(gates: Sequence[Gate]) -> list[str]:
    """The sentences of those that are not met."""
    return [gate.says for gate in gates if not gate.met]


def _rejections(facts: Facts) -> Gate:
    said = [f"{who}{f' ({why})' if why else ''}" for who, why in sorted(facts.rejected.items())]
    text = f"it was rejected by {', '.join(said)}: they can approve it, or register a better version"
    return Gate("rejections", False, text, tuple(sorted(facts.rejected)))


def _approvals(policy: StagePolicy, facts: Facts) -> Gate:
    own = {facts.registered_by, facts.requested_by, *facts.asked} if policy.four_eyes else set()
    counted = tuple(sorted(set(facts.approved) - own))
    void = sorted(set(facts.approved) & own)
    text = f"{_times(policy.approvals, 'approval')} {'is' if policy.approvals == 1 else 'are'} needed, "
    text += f"{len(counted) or 'none'} {'was' if len(counted) == 1 else 'were'} given"
    text += f" ({', '.join(counted)})" if counted else ""
    if void:
        text += f"; of {', '.join(void)} none counts: four eyes, and they registered the version, asked for its "
        text += "training or asked for the approval"
    if facts.outdated:
        who = ", ".join(sorted(facts.outdated))
        text += f"; {who} approved another description or other changes than there are now, and must approve again"
    return Gate("approvals", len(counted) >= policy.approvals, text, counted)


def _check(name: str, fact: CheckFact | None) -> Gate:
    if fact is None:
        return Gate(f"check {name}", False, f"the check {name} has no result yet")
    if fact.passed:
        return Gate(f"check {name}", True, f"the check {name} passed", (fact.actor,))
    detail = f": {fact.detail[:200]}" if fact.detail else ""
    return Gate(f"check {name}", False, f"the check {name} failed{detail}", (fact.actor,))


def _signature(policy: StagePolicy, facts: Facts) -> Gate:
    by = tuple(sorted(set(facts.signers) & set(policy.signers) if policy.signers else set(facts.signers)))
    if by:
        return Gate("signature", True, f"it is signed by {', '.join(by)}", by)
    wanted = f" of {' or '.join(policy.signers)}" if policy.signers else ""
    return Gate("signature", False, f"it bears no valid signature{wanted}: sign it with `trimtab models sign`")


def _compliance(stage: Stage, facts: Facts) -> list[Gate]:
    gating = [(control_id, control) for control_id, control in facts.controls if stage in control.stages]
    if not gating:
        text = f"the policy asks for compliance, but no control of this model gates {stage.value}: write the checklist"
        return [Gate("compliance", False, text)]
    return [_control(control_id, control, facts.now) for control_id, control in gating]


def _control(control_id: str, control: Control, now: datetime) -> Gate:
    name, standing = f"control {control_id}", control.standing(now)
    told = f"the control {control_id} ({control.title})"
    if standing is ControlState.MET:
        return Gate(name, True, f"{told} is met", (control.owner,))
    if standing is ControlState.WAIVED:
        return Gate(name, True, f"{told} is waived: {control.reason}", (control.owner,))
    if control.expires_at is not None and control.expired(now):
        return Gate(name, False, f"{told} expired on {control.expires_at:%Y-%m-%d}: {control.owner} must renew it")
    return Gate(name, False, f"{told} is open: {control.owner} must show evidence")


def _changes(parent: str, changes: str, *, before_approval: bool) -> Gate:
    if changes.strip():
        return Gate("changes", True, f"it says what is different from {parent}")
    how = "write `changes` before it is approved" if before_approval else "give `changes` with the promotion"
    return Gate("changes", False, f"it does not say what is different from {parent}: {how}")


def _times(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
