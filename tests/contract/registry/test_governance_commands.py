"""The commands and the SDK of aliases, policies, approvals, checks and compliance, against the real registry."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from tests.contract.registry.conftest import Registry
from tests.graphs import classifier
from tests.waiting import until
from trimtab import AsyncClient
from trimtab.cli.root import app
from trimtab.errors import Conflict, InvalidInput, NotFound
from trimtab.local.ports import free_ports

MODEL = "threat-classifier"


class Terminal:
    """Runs commands against a registry that listens at `url`."""

    def __init__(self, registry: Registry, url: str) -> None:
        self.registry = registry
        self.url = url

    async def run(self, *words: str) -> str:
        """What a command prints for a person."""
        arguments = [*words, "--url", self.url]
        done = await asyncio.to_thread(CliRunner().invoke, app, arguments, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    async def json(self, *words: str) -> Any:
        """What a command prints for a machine."""
        return json.loads(await self.run(*words, "--json"))


@pytest.fixture
async def terminal(registry: Registry) -> AsyncIterator[Terminal]:
    """The registry at a port."""
    assert registry.service.app is not None
    [port] = free_ports(1)
    server = uvicorn.Server(uvicorn.Config(registry.service.app, port=port, lifespan="off", log_level="error"))
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started, 10, "the port")
    yield Terminal(registry, f"http://127.0.0.1:{port}")
    server.should_exit = True
    await task


async def test_aliases(terminal: Terminal) -> None:
    first = await terminal.registry.version(0, "staging", "production")
    second = await terminal.registry.version(1)
    start = datetime.now(UTC).isoformat()
    said = await terminal.run("models", "alias", MODEL, "champion", first, "--comment", "good")
    assert said == f"{MODEL}@champion is {first} now\n"
    between = datetime.now(UTC).isoformat()
    await terminal.run("models", "alias", MODEL, "champion", second)
    listed = await terminal.run("models", "alias", MODEL)
    assert "champion" in listed
    assert second in listed
    assert (await terminal.json("models", "show", MODEL, "@champion"))["version"] == second
    assert "@champion" in await terminal.run("models", "show", MODEL)
    assert f"@champion {second}" in await terminal.run("models", "list")
    assert (await terminal.json("models", "alias", MODEL, "champion", "--at", between))["version"] == first
    assert "it named nothing" in await terminal.run("models", "alias", MODEL, "champion", "--at", start)
    assert "good" in await terminal.run("models", "alias", MODEL, "champion")
    await terminal.run("models", "promote", MODEL, "@champion", "staging")
    deployed = await terminal.json("deploy", f"{MODEL}@champion")
    assert [route["version"] for route in deployed["routes"]] == [second]
    assert "no @champion any more" in await terminal.run("models", "alias", MODEL, "champion", "--remove")
    assert await terminal.run("models", "alias", MODEL) == "no aliases\n"
    with pytest.raises(InvalidInput, match="name the alias"):
        await terminal.run("models", "alias", MODEL, "--remove")
    with pytest.raises(NotFound, match="no alias"):
        await terminal.run("deploy", f"{MODEL}@champion")


async def test_what_was_in_production_at_a_time(terminal: Terminal) -> None:
    start = datetime.now(UTC).isoformat()
    version = await terminal.registry.version(0, "staging", "production")
    after = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    found = await terminal.json("models", "history", MODEL, "--at", after)
    assert (found["production_version"], found["move"]["comment"]) == (version, "to production")
    assert "to production" in await terminal.run("models", "history", MODEL, "--at", after)
    assert "nothing was in production" in await terminal.run("models", "history", MODEL, "--at", start)
    with pytest.raises(InvalidInput, match="leave the version out"):
        await terminal.run("models", "history", MODEL, version, "--at", after)
    with pytest.raises(InvalidInput, match="--at: 'yesterday' is not a time"):
        await terminal.run("models", "history", MODEL, "--at", "yesterday")


async def test_from_a_policy_to_a_promotion(terminal: Terminal, tmp_path: Path) -> None:
    await terminal.registry.version(0, "staging", "production")
    unsaid = await terminal.registry.register(MODEL, classifier(1), changes="")
    version = str(unsaid.json()["version"])
    rules = tmp_path / "policy.yaml"
    rules.write_text("production: {approvals: 1, required_checks: [bias], compliance: true}\nformer: staging\n")
    written = await terminal.run("models", "policy", MODEL, "--set", str(rules), "--revision", "0")
    assert "required_checks" in written
    assert (await terminal.json("models", "policy", MODEL))["source"] == "model"
    assert (await terminal.json("models", "policy"))["source"] == "built-in"
    with pytest.raises(Conflict, match="what is different"):
        await terminal.run("models", "promote", MODEL, version, "staging")
    await terminal.run("models", "promote", MODEL, version, "staging", "--changes", "wider layers")
    with pytest.raises(Conflict) as refused:
        await terminal.run("models", "promote", MODEL, version, "production")
    assert len(refused.value.facts["unmet"]) == 3
    gates = await terminal.json("models", "gates", MODEL, version)
    assert [gate["met"] for gate in gates["gates"]] == [False, False, False, True]
    assert "the check bias has no result yet" in await terminal.run("models", "gates", MODEL, version, "production")
    assert "ask" in await terminal.run("models", "ask", MODEL, version, "--comment", "please")
    await terminal.run("models", "reject", MODEL, version, "--comment", "wait")
    said = await terminal.run("models", "approve", MODEL, version, "--stage", "production")
    assert said == f"anyone: approve {MODEL} {version} to production\n"
    assert "passed" in await terminal.run("models", "check", MODEL, version, "bias", "--passed", "--detail", "0.1 %")
    assert "0.1 %" in await terminal.run("models", "check", MODEL, version)
    with pytest.raises(InvalidInput, match="--passed or --failed"):
        await terminal.run("models", "check", MODEL, version, "bias")
    control = tmp_path / "control.yaml"
    control.write_text("title: No names\nowner: grace\nevidence: [looked]\nstate: met\nstages: [production]\n")
    listed = await terminal.run("models", "controls", MODEL, "--set", "GDPR-1", "--file", str(control))
    assert "No names" in listed
    assert "in production" in (await terminal.run("models", "promote", MODEL, version, "production"))
    page = await terminal.run("models", "compliance", MODEL)
    assert "### GDPR-1: No names" in page
    assert f"- version `{version}` since" in page
    assert (await terminal.json("models", "compliance", MODEL))["production"]["version"] == version
    document = json.loads(await terminal.run("models", "compliance", MODEL, "--format", "json"))
    assert document["compliant"] is True
    assert await terminal.run("models", "controls", MODEL, "--remove", "GDPR-1") == "the checklist is empty\n"
    assert (await terminal.json("models", "policy", MODEL, "--unset"))["source"] == "built-in"


async def test_the_sdk(terminal: Terminal) -> None:
    version = await terminal.registry.version(0, "staging")
    async with AsyncClient(terminal.url) as client:
        start = datetime.now(UTC)
        await client.set_alias(MODEL, "best", version, comment="c")
        assert [alias["alias"] for alias in (await client.aliases(MODEL))["aliases"]] == ["best"]
        assert (await client.alias_history(MODEL, "best", at=start))["version"] is None
        assert len((await client.alias_history(MODEL, "best"))["history"]) == 1
        await client.set_policy({"production": {"approvals": 1}}, expected_revision=0)
        assert (await client.policy(MODEL))["source"] == "default"
        with pytest.raises(Conflict) as refused:
            await client.promote(MODEL, "@best", "production")
        assert refused.value.facts["code"] == "gates-unmet"
        await client.ask_approval(MODEL, "@best", comment="please")
        await client.reject(MODEL, "@best", comment="no")
        await client.approve(MODEL, "@best", comment="yes")
        assert [word["comment"] for word in (await client.approvals(MODEL, version))["approvals"]] == [
            "yes",
            "no",
            "please",
        ]
        await client.record_check(MODEL, "@best", "bias", False, detail="d")
        assert (await client.checks(MODEL, version))["latest"][0]["detail"] == "d"
        assert (await client.gates(MODEL, version))["open"] is True
        await client.promote(MODEL, version, "production")
        assert (await client.history(MODEL, at=datetime.now(UTC)))["production_version"] == version
        await client.set_control(MODEL, "c-1", {"title": "t", "owner": "o"})
        assert [each["counts_as"] for each in (await client.controls(MODEL))["controls"]] == ["open"]
        assert (await client.compliance(MODEL))["compliant"] is False
        assert "### c-1: t" in await client.compliance(MODEL, format="markdown")
        await client.remove_control(MODEL, "c-1")
        await client.remove_alias(MODEL, "best", comment="gone")
        assert (await client.remove_policy(expected_revision=1))["source"] == "built-in"
