"""Gates: open exactly when the policy's conditions hold, whatever the order in which people speak."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.events import Stage
from services.registry.governance.checklist import Control, ControlState
from services.registry.governance.gates import CheckFact, Facts, gates_of, unmet
from services.registry.governance.policy import GatedStage, Policy, StagePolicy

NOW = datetime(2026, 6, 1, tzinfo=UTC)
people = st.sampled_from(["ada", "bob", "eve", "grace"])
names = st.sampled_from(["bias", "latency", "scan"])
GATED: tuple[GatedStage, ...] = (Stage.STAGING, Stage.PRODUCTION)
gated = st.sampled_from(GATED)


@st.composite
def policies(draw: st.DrawFn) -> StagePolicy:
    approvals = draw(st.integers(0, 3))
    signed = draw(st.booleans())
    return StagePolicy(
        approvals=approvals,
        four_eyes=approvals > 0 and draw(st.booleans()),
        required_checks=tuple(draw(st.sets(names))),
        require_signature=signed,
        signers=tuple(draw(st.sets(people))) if signed else (),
        compliance=draw(st.booleans()),
        require_changes=draw(st.booleans()),
    )


@st.composite
def control(draw: st.DrawFn) -> Control:
    stages: set[GatedStage] = draw(st.sets(gated))
    return Control(
        title="t",
        owner="o",
        evidence=("e",),
        reason="r",
        state=draw(st.sampled_from(ControlState)),
        stages=tuple(stages),
        expires_at=draw(st.sampled_from([None, NOW - timedelta(days=1), NOW, NOW + timedelta(seconds=1)])),
    )


@st.composite
def facts(draw: st.DrawFn) -> Facts:
    words: dict[str, bool] = draw(st.dictionaries(people, st.booleans()))
    checks: dict[str, bool] = draw(st.dictionaries(names, st.booleans()))
    return Facts(
        registered_by=draw(people),
        requested_by=draw(people),
        now=NOW,
        asked=frozenset(draw(st.sets(people))),
        approved=tuple(who for who, yes in words.items() if yes),
        rejected={who: "" for who, yes in words.items() if not yes},
        outdated=tuple(draw(st.sets(people))),
        checks={name: CheckFact(passed, "ci") for name, passed in checks.items()},
        signers=tuple(draw(st.sets(people))),
        controls=[(f"c{number}", each) for number, each in enumerate(draw(st.lists(control(), max_size=4)))],
        parent=draw(st.sampled_from([None, "1.0.0"])),
        changes=draw(st.sampled_from(["", "  ", "more data"])),
    )


def may_pass(stage: Stage, policy: StagePolicy, known: Facts) -> bool:
    """The rules once more, as one expression each."""
    void = {known.registered_by, known.requested_by, *known.asked} if policy.four_eyes else set()
    gating = [each for _, each in known.controls if stage in each.stages]
    return (
        not known.rejected
        and len(set(known.approved) - void) >= policy.approvals
        and all(name in known.checks and known.checks[name].passed for name in policy.required_checks)
        and (not policy.require_signature or bool(set(known.signers) & set(policy.signers or known.signers)))
        and (not policy.compliance or bool(gating))
        and (
            not policy.compliance
            or all(
                each.state is not ControlState.OPEN and (each.expires_at is None or each.expires_at > NOW)
                for each in gating
            )
        )
        and (not policy.require_changes or known.parent is None or bool(known.changes.strip()))
    )


@given(gated, policies(), facts())
def test_the_gates_are_open_when_every_condition_holds(stage: Stage, policy: StagePolicy, known: Facts) -> None:
    gates = gates_of(stage, policy, known)
    assert all(gate.met for gate in gates) is may_pass(stage, policy, known)
    assert (unmet(gates) == []) is may_pass(stage, policy, known)
    assert all(gate.says and gate.gate for gate in gates)
    assert len({gate.gate for gate in gates}) == len(gates), "each is told once"


@given(gated, policies(), facts(), people)
def test_an_approval_opens_and_a_rejection_closes(stage: Stage, policy: StagePolicy, known: Facts, who: str) -> None:
    others = {each: why for each, why in known.rejected.items() if each != who}
    approved = {**vars(known), "rejected": others, "approved": (*known.approved, who)}
    rejected = {**vars(known), "rejected": {**known.rejected, who: "no"}}
    rejected["approved"] = tuple(each for each in known.approved if each != who)
    if may_pass(stage, policy, known):
        assert not unmet(gates_of(stage, policy, Facts(**approved)))
    assert unmet(gates_of(stage, policy, Facts(**rejected)))


@given(gated, facts())
def test_without_conditions_only_a_rejection_stands_in_the_way(stage: Stage, known: Facts) -> None:
    gates = gates_of(stage, StagePolicy(require_changes=False), known)
    assert [gate.gate for gate in gates] == (["rejections"] if known.rejected else [])


@given(policies(), policies())
def test_a_policy_is_read_as_it_was_written(staging: StagePolicy, production: StagePolicy) -> None:
    policy = Policy(staging=staging, production=production)
    assert Policy.model_validate_json(policy.model_dump_json()) == policy
    assert policy.of(Stage.STAGING) == staging
    assert policy.of(Stage.PRODUCTION) == production


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"four_eyes": True}, "approvals"),
        ({"signers": ["ada"]}, "require_signature"),
        ({"approvals": 101}, "100"),
    ],
)
def test_a_policy_that_contradicts_itself(document: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        StagePolicy.model_validate(document)
