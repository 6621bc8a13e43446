"""Aliases, policies, approvals, checks, gates and the compliance checklist, as methods of the clients."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from trimtab.calls import Call, get, given, part, post
from trimtab.surfaces.sender import Answer, Sender

MODELS = "/mlops/models"


class Governance(Sender[Answer]):
    """Who may move which version where, and who said so. A `version` may be an alias too: `@champion`."""

    # aliases

    def aliases(self, model_id: str) -> Answer:
        """The aliases of a model and the versions that they name."""
        return self.send(get(f"{MODELS}/{part(model_id)}/aliases"))

    def set_alias(self, model_id: str, alias: str, version: str, *, comment: str = "") -> Answer:
        """Let an alias name a version. An archived version is refused."""
        body = {"version": version, "comment": comment}
        return self.send(Call("PUT", _alias(model_id, alias), body=body))

    def remove_alias(self, model_id: str, alias: str, *, comment: str = "") -> Answer:
        """Let an alias name nothing any more."""
        return self.send(Call("DELETE", _alias(model_id, alias), query={"comment": comment} if comment else {}))

    def alias_history(self, model_id: str, alias: str, *, at: datetime | None = None) -> Answer:
        """Every move of an alias, the newest first; with `at` (UTC) what it named then."""
        return self.send(get(f"{_alias(model_id, alias)}/history", at=at.isoformat() if at else None))

    # policies and gates

    def policy(self, model_id: str | None = None) -> Answer:
        """The policy of a model, or without an id the default of all, with its source and revision."""
        return self.send(get(_policy(model_id)))

    def set_policy(
        self, policy: Mapping[str, Any], model_id: str | None = None, *, expected_revision: int | None = None
    ) -> Answer:
        """Write a whole policy; needs the scope `admin`. With `expected_revision` only if nobody was faster."""
        return self.send(Call("PUT", _policy(model_id), body=dict(policy), headers=_only_if(expected_revision)))

    def remove_policy(self, model_id: str | None = None, *, expected_revision: int | None = None) -> Answer:
        """Let a model follow the default policy again, or without an id the default be the built-in one."""
        return self.send(Call("DELETE", _policy(model_id), headers=_only_if(expected_revision)))

    def gates(self, model_id: str, version: str, stage: str = "production") -> Answer:
        """What stands between a version and a stage: each gate, met or not, and by whom."""
        return self.send(get(f"{_version(model_id, version)}/gates", stage=stage))

    # approvals and checks

    def approvals(self, model_id: str, version: str) -> Answer:
        """What was said about promoting a version, the newest first."""
        return self.send(get(f"{_version(model_id, version)}/approvals"))

    def ask_approval(self, model_id: str, version: str, stage: str = "production", *, comment: str = "") -> Answer:
        """Ask for the approval of a promotion; needs the scope `write`."""
        return self._decide(model_id, version, stage, "ask", comment)

    def approve(self, model_id: str, version: str, stage: str = "production", *, comment: str = "") -> Answer:
        """Approve a promotion; needs the scope `approve`."""
        return self._decide(model_id, version, stage, "approve", comment)

    def reject(self, model_id: str, version: str, stage: str = "production", *, comment: str = "") -> Answer:
        """Reject a promotion, which blocks it until you approve it; needs the scope `approve`."""
        return self._decide(model_id, version, stage, "reject", comment)

    def checks(self, model_id: str, version: str) -> Answer:
        """The latest result of each check of a version, and all results."""
        return self.send(get(f"{_version(model_id, version)}/checks"))

    def record_check(self, model_id: str, version: str, name: str, passed: bool, *, detail: str = "") -> Answer:
        """Record the result of a named check: a test suite, a scan, a review."""
        body = {"name": name, "passed": passed, "detail": detail}
        return self.send(post(f"{_version(model_id, version)}/checks", body))

    # compliance

    def controls(self, model_id: str) -> Answer:
        """The compliance checklist of a model."""
        return self.send(get(f"{MODELS}/{part(model_id)}/controls"))

    def set_control(self, model_id: str, control_id: str, control: Mapping[str, Any]) -> Answer:
        """Write a control: title, owner, evidence, state, stages, expires_at; needs the scope `approve`."""
        return self.send(Call("PUT", f"{MODELS}/{part(model_id)}/controls/{part(control_id)}", body=dict(control)))

    def remove_control(self, model_id: str, control_id: str) -> Answer:
        """Take a control off the checklist; needs the scope `approve`."""
        return self.send(Call("DELETE", f"{MODELS}/{part(model_id)}/controls/{part(control_id)}"))

    def compliance(self, model_id: str, *, format: str = "json") -> Answer:
        """The compliance report, as a document or (`markdown`) as a page to read."""
        return self.send(get(f"{MODELS}/{part(model_id)}/compliance", format=format))

    def _decide(self, model_id: str, version: str, stage: str, decision: str, comment: str) -> Answer:
        body = given(stage=stage, decision=decision, comment=comment)
        return self.send(post(f"{_version(model_id, version)}/approvals", body))


def _alias(model_id: str, alias: str) -> str:
    return f"{MODELS}/{part(model_id)}/aliases/{part(alias)}"


def _version(model_id: str, version: str) -> str:
    return f"{MODELS}/{part(model_id)}/{part(version)}"


def _policy(model_id: str | None) -> str:
    return "/mlops/policy" if model_id is None else f"{MODELS}/{part(model_id)}/policy"


def _only_if(revision: int | None) -> dict[str, str]:
    return {} if revision is None else {"If-Match": f'"{revision}"'}
