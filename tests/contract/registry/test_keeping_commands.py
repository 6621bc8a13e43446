"""The commands and the SDK that verify, sign and collect, against the real registry."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from typer.testing import CliRunner

from tests.contract.registry.conftest import Registry
from tests.contract.registry.leftovers import blob, collector, keys, leave
from tests.contract.registry.test_signatures import Person
from tests.waiting import until
from trimtab import AsyncClient
from trimtab.cli.root import app
from trimtab.errors import InvalidInput
from trimtab.local.ports import free_ports

MODEL = "threat-classifier"
NOTES = b"notes " * 1000


class Terminal:
    """Runs commands against a registry that listens at `url`."""

    def __init__(self, registry: Registry, url: str) -> None:
        self.registry = registry
        self.url = url

    async def run(self, *words: str, status: int = 0) -> str:
        """What a command prints."""
        arguments = [*words, "--url", self.url]
        done = await asyncio.to_thread(CliRunner().invoke, app, arguments, catch_exceptions=False)
        assert done.exit_code == status, done.output
        return str(done.stdout)

    async def lines(self, *words: str, status: int = 0) -> list[dict[str, Any]]:
        """The JSON documents that a command prints, one a line."""
        return [json.loads(line) for line in (await self.run(*words, "--json", status=status)).splitlines()]


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


async def registered(terminal: Terminal, model_id: str = MODEL, notes: bytes = b"") -> str:
    answer = await terminal.registry.register(model_id, files={"notes.md": notes} if notes else None)
    return str(answer.json()["version"])


async def test_verify_all_says_what_is_bad(terminal: Terminal) -> None:
    good, bad = await registered(terminal), await registered(terminal, "other", notes=NOTES)
    everything = await terminal.lines("models", "verify")
    assert {line["state"] for line in everything[:-1]} == {"ok"}
    assert everything[-1] == {"audit": {"rows": 2, "broken_at": None}}
    terminal.registry.store.put_bytes(blob(NOTES), NOTES[:-1] + b"!")
    assert f"{MODEL} {good}: ok\n" in await terminal.run("models", "verify", MODEL)
    said = await terminal.run("models", "verify", "other", bad, status=1)
    assert f"other {bad}: bad\n    notes.md: damaged: its SHA-256 is" in said
    lines = await terminal.lines("models", "verify", status=1)
    assert {line["model_id"]: line["state"] for line in lines[:-1]} == {MODEL: "ok", "other": "bad"}
    assert "audit trail: ok, 2 rows" in await terminal.run("models", "verify", "--audit")
    with pytest.raises(InvalidInput, match="--audit"):
        await terminal.run("models", "verify", MODEL, "--audit")


async def test_verify_goes_through_every_page(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trimtab.cli.models.keeping.PAGE", 2)
    versions = {await registered(terminal, notes=b"x" * (number + 1)) for number in range(5)}
    for words in (("models", "verify"), ("models", "verify", MODEL)):
        lines = await terminal.lines(*words)
        assert {line["version"] for line in lines if "version" in line} == versions


async def test_sign(terminal: Terminal, tmp_path: Path) -> None:
    version = await registered(terminal)
    ada = Person(tmp_path, "ada")
    signing = ("models", "sign", MODEL, version, "--private-key", str(ada.private_key))
    with pytest.raises(InvalidInput, match="trimtab signers add"):
        await terminal.run(*signing)
    assert "are trusted" in await terminal.run("signers", "add", "Ada", "--public-key", str(ada.public_key))
    assert await terminal.run(*signing) == f"{MODEL} {version} is signed by Ada\n"
    assert f"{version}: ok, signed by Ada" in await terminal.run("models", "verify", MODEL, version)
    assert "Ada" in await terminal.run("signers", "list")
    assert await terminal.run("signers", "revoke", "Ada") == "Ada is trusted no more\n"
    assert "signature of Ada: revoked" in await terminal.run("models", "verify", MODEL, version)
    with pytest.raises(InvalidInput, match="private key, which must stay"):
        await terminal.run("signers", "add", "Ada", "--public-key", str(ada.private_key))
    with pytest.raises(InvalidInput, match="--bundle"):
        await terminal.run("models", "sign", MODEL, version)


async def test_the_asynchronous_client_signs(terminal: Terminal, tmp_path: Path) -> None:
    version = await registered(terminal)
    ada = Person(tmp_path, "ada")
    async with AsyncClient(terminal.url) as client:
        await client.trust_signer("Ada", ada.public_key)
        found = await client.sign(MODEL, version, ada.private_key)
        assert found["signed_by"] == ["Ada"]
        assert (await client.verify(MODEL, version))["state"] == "ok"
        bundle = tmp_path / "model.sig"
        bundle.write_text(json.dumps(found["signatures"][0]["bundle"]))
        assert (await client.add_signature(MODEL, version, bundle))["signed_by"] == ["Ada"]


async def test_collect(terminal: Terminal) -> None:
    terminal.registry.service.state["collector"] = collector(terminal.registry)
    await registered(terminal)
    before = keys(terminal.registry.store)
    leave(terminal.registry.store, "models/m/orphan", {"notes.md": NOTES})
    said = await terminal.run("models", "collect", "--dry-run")
    assert "1 objects" in said
    assert "would be condemned" in said
    assert "models/m/orphan" in said
    (done,) = await terminal.lines("models", "collect")
    assert done["removed"] == 3
    assert keys(terminal.registry.store) == before
