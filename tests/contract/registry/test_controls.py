"""The compliance checklist: what it gates, what expires, and the report."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import ControlChanged
from services.registry.tables import audit
from tests.contract.registry.conftest import Registry

MODEL = "/mlops/models/threat-classifier"
GDPR = {
    "title": "No personal data",
    "description": "Flows hold no names.",
    "owner": "grace",
    "evidence": ["https://wiki/review-7", "looked at every column"],
    "state": "met",
    "stages": ["production"],
}


async def write(registry: Registry, control_id: str = "GDPR-1", **changes: Any) -> Any:
    return await registry.client.put(f"{MODEL}/controls/{control_id}", json=GDPR | changes)


async def test_a_checklist_is_written_and_read(registry: Registry) -> None:
    await registry.version(0)
    answer = await write(registry)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["control_id"], answer.json()["counts_as"], answer.json()["changed_by"]) == (
        "GDPR-1",
        "met",
        "anyone",
    )
    assert (await write(registry)).json() == answer.json(), "the same again changes nothing"
    await write(registry, "A-1", state="waived", reason="nobody calls it from outside", evidence=[])
    found = (await registry.client.get(f"{MODEL}/controls")).json()["controls"]
    assert [(control["control_id"], control["counts_as"]) for control in found] == [
        ("A-1", "waived"),
        ("GDPR-1", "met"),
    ]
    assert (await registry.client.delete(f"{MODEL}/controls/A-1")).status_code == 204
    assert (await registry.client.delete(f"{MODEL}/controls/A-1")).status_code == 404
    assert len((await registry.client.get(f"{MODEL}/controls")).json()["controls"]) == 1
    events = await registry.events(ControlChanged)
    assert [(event.control_id, event.control is None) for event in events] == [
        ("GDPR-1", False),
        ("A-1", False),
        ("A-1", True),
    ]
    trail = await registry.service.db.read(
        lambda connection: connection.execute(
            sa.select(audit).where(audit.c.entity == "threat-classifier/A-1").order_by(audit.c.seq)
        ).all()
    )
    assert [row.action for row in trail] == ["control.written", "control.removed"]
    assert json.loads(trail[0].facts)["control"]["reason"] == "nobody calls it from outside"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"evidence": []}, "evidence"),
        ({"state": "waived"}, "reason"),
        ({"state": "done"}, "state"),
        ({"stages": ["draft"]}, "stages"),
        ({"owner": ""}, "owner"),
        ({"expires_at": "tomorrow"}, "expires_at"),
        ({"title": "a\0b"}, "NUL"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_controls_that_are_none(registry: Registry, changes: dict[str, Any], says: str) -> None:
    await registry.version(0)
    answer = await write(registry, **changes)
    assert answer.status_code == 422, answer.text
    assert says in answer.json()["detail"]
    assert (await registry.client.put("/mlops/models/nobody/controls/c", json=GDPR)).status_code == 404


async def test_controls_gate_the_stages_that_they_name(registry: Registry) -> None:
    policy = {"production": {"compliance": True}}
    version = await registry.version(0, "staging")
    assert (await registry.client.put(f"{MODEL}/policy", json=policy)).status_code == 200
    empty = await registry.promote(version, "production")
    assert "no control of this model gates production" in empty.json()["detail"], "an empty checklist shows nothing"
    await write(registry, state="open")
    await write(registry, "later", state="open", stages=["staging"])
    refused = await registry.promote(version, "production")
    assert refused.json()["unmet"] == ["the control GDPR-1 (No personal data) is open: grace must show evidence"]
    yesterday, tomorrow = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 1))
    await write(registry, expires_at=yesterday.isoformat())
    listed = (await registry.client.get(f"{MODEL}/controls")).json()["controls"][0]
    assert (listed["state"], listed["counts_as"]) == ("met", "open")
    refused = await registry.promote(version, "production")
    assert f"expired on {yesterday:%Y-%m-%d}" in refused.json()["unmet"][0]
    await write(registry, expires_at=tomorrow.isoformat())
    assert (await registry.promote(version, "production")).status_code == 200


async def test_an_empty_checklist_is_not_compliance(registry: Registry) -> None:
    await registry.version(0)
    report = (await registry.client.get(f"{MODEL}/compliance")).json()
    assert (report["compliant"], report["controls"]) == (False, [])
    page = await registry.client.get(f"{MODEL}/compliance?format=markdown")
    assert "**the checklist is empty**" in page.text
    await write(registry)
    assert (await registry.client.get(f"{MODEL}/compliance")).json()["compliant"] is True


async def test_what_somebody_wrote_is_text_in_the_report(registry: Registry) -> None:
    """Links, pictures, markup and characters that turn the text around, of which the card makes text too."""
    await registry.version(0)
    said = "![x](http://127.0.0.1/x.png) ~~no~~ &lt;i&gt; $a$ \u202eevil\u2028# h {{x}} [y](javascript:z)"
    await write(registry, title=said, description="1. one", owner=said, evidence=[said])
    page = (await registry.client.get(f"{MODEL}/compliance?format=markdown")).text
    shown = r"\!\[x\]\(http://127.0.0.1/x.png\) \~\~no\~\~ &amp;lt;i&amp;gt; \$a\$ evil \# h \{\{x\}\} "
    shown += r"\[y\]\(javascript:z\)"
    assert page.count(shown) == 3, page
    assert "- &#49;. one" in page


async def test_the_report(registry: Registry) -> None:
    version = await registry.version(0, "staging")
    await write(registry)
    past = datetime(2020, 1, 1, tzinfo=UTC)
    await write(registry, "OLD", title="Look | at <b>this</b>\n# again", expires_at=past.isoformat())
    base = f"{MODEL}/{version}"
    word = {"stage": "production", "decision": "approve", "comment": "well done"}
    await registry.client.post(f"{base}/approvals", json=word)
    await registry.client.post(f"{base}/checks", json={"name": "bias", "passed": True, "detail": "0.1 %"})
    before = (await registry.client.get(f"{MODEL}/compliance")).json()
    assert (before["compliant"], before["production"]) == (False, None)
    await registry.promote(version, "production")
    report = (await registry.client.get(f"{MODEL}/compliance?format=json")).json()
    assert report["production"]["version"] == version
    assert [word["comment"] for word in report["production"]["approvals"]] == ["well done"]
    assert [check["detail"] for check in report["production"]["checks"]] == ["0.1 %"]
    assert [control["counts_as"] for control in report["controls"]] == ["met", "open"]
    page = await registry.client.get(f"{MODEL}/compliance?format=markdown")
    assert page.headers["content-type"] == "text/markdown; charset=utf-8"
    for line in (
        "# Compliance of threat-classifier",
        f"- version `{version}` since ",
        "- approve by anyone on ",
        "- check bias passed (anyone): 0.1 %",
        "### GDPR-1: No personal data",
        "- state: **met**",
        "- owner: grace",
        "- evidence: https://wiki/review-7",
        "- state: **expired**",
        "- expires: 2020-01-01 00:00:00 UTC",
        r"### OLD: Look \| at &lt;b&gt;this&lt;/b&gt; \# again",
    ):
        assert line in page.text, page.text
    assert "**controls are open**" in page.text
    assert "<b>" not in page.text
    assert (await registry.client.get(f"{MODEL}/compliance?format=pdf")).status_code == 422
    assert (await registry.client.get("/mlops/models/nobody/compliance")).status_code == 404


async def test_a_policy_that_asks_for_compliance_wants_a_control_that_gates(registry: Registry) -> None:
    await registry.version(0)
    control = {"title": "Bias", "owner": "ada", "state": "met", "evidence": ["seen"], "stages": ["staging"]}
    assert (await registry.client.put(f"{MODEL}/controls/bias", json=control)).status_code < 300
    asked = {"production": {"compliance": True}}
    assert (await registry.client.put(f"{MODEL}/policy", json=asked)).status_code < 300
    assert (await registry.client.get(f"{MODEL}/compliance")).json()["compliant"] is False
    page = (await registry.client.get(f"{MODEL}/compliance?format=markdown")).text
    assert "no control gates production" in page
    assert "no control is open" not in page
    await registry.client.put(f"{MODEL}/controls/bias", json={**control, "stages": ["production"]})
    assert (await registry.client.get(f"{MODEL}/compliance")).json()["compliant"] is True
