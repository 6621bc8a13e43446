"""API keys: shown once, hashed at rest, scoped on every route, told apart by their names."""

import asyncio
import hashlib
import json
import threading
from collections.abc import AsyncIterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi import FastAPI

from schemas.events import ApiKeyGranted, ApiKeyRevoked, Scope
from services.kernel.auth import fingerprint
from services.kernel.errors import Conflict
from services.kernel.tables import outbox
from services.kernel.uow import UnitOfWork
from services.registry.app import build
from services.registry.keys import create, create_directly, create_first
from services.registry.settings import RegistrySettings
from services.registry.tables import api_keys, audit
from tests.contract.registry.conftest import Registry, running
from tests.graphs import classifier

INTERNAL = {"Authorization": "Bearer internal-secret"}
NUMBERS = count(1)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Registry]:
    """A registry that asks for keys."""
    settings = RegistrySettings(data_dir=tmp_path, auth="keys", internal_key="internal-secret")
    async for registry in running(settings):
        registry.client.headers.update(INTERNAL)
        yield registry


async def hear(registry: Registry) -> None:
    """What the topic `access` does: tell the process which keys there are."""
    for event in await registry.events(ApiKeyGranted, ApiKeyRevoked):
        registry.service.access._apply(event.key_id, event, None)


async def granted(registry: Registry, *scopes: str, prefixes: tuple[str, ...] = ()) -> dict[str, str]:
    name = f"ci {next(NUMBERS)}"
    answer = await registry.client.post(
        "/mlops/keys", json={"name": name, "scopes": list(scopes), "modelPrefixes": list(prefixes)}
    )
    assert answer.status_code == 201, answer.text
    await hear(registry)
    return {"Authorization": f"Bearer {answer.json()['key']}"}


async def test_a_key_is_shown_once_and_kept_as_a_hash(registry: Registry) -> None:
    answer = await registry.client.post("/mlops/keys", json={"name": "ci", "scopes": ["read", "predict"]})
    assert answer.status_code == 201
    key = answer.json()["key"]
    listed = await registry.client.get("/mlops/keys")
    assert key not in listed.text
    assert [(item["name"], item["scopes"]) for item in listed.json()["keys"]] == [("ci", ["read", "predict"])]

    def everything(connection: sa.Connection) -> str:
        rows = [connection.execute(sa.select(table)).all() for table in (api_keys, audit, outbox)]
        return repr(rows)

    stored = await registry.service.db.read(everything)
    assert key not in stored
    assert fingerprint(key) in stored
    [event] = await registry.events(ApiKeyGranted)
    assert (event.sha256, event.scopes) == (fingerprint(key), (Scope.READ, Scope.PREDICT))


async def test_revoking(registry: Registry) -> None:
    key_id = (await registry.client.post("/mlops/keys", json={"name": "ci", "scopes": ["read"]})).json()["key_id"]
    first = await registry.client.delete(f"/mlops/keys/{key_id}")
    again = await registry.client.delete(f"/mlops/keys/{key_id}")
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.json() == again.json()
    assert len(await registry.events(ApiKeyRevoked)) == 1
    assert (await registry.client.delete("/mlops/keys/nobody")).status_code == 404
    [listed] = (await registry.client.get("/mlops/keys")).json()["keys"]
    assert listed["revoked_at"] is not None


@pytest.mark.parametrize(
    "document", [{"name": "x", "scopes": []}, {"name": "", "scopes": ["read"]}, {"name": "x", "scopes": ["root"]}]
)
async def test_keys_that_are_not_granted(registry: Registry, document: dict[str, object]) -> None:
    assert (await registry.client.post("/mlops/keys", json=document)).status_code == 422


async def test_every_route_asks_for_a_key(guarded: Registry) -> None:
    open_paths = {"/healthz", "/readyz"}
    app = guarded.service.app
    assert isinstance(app, FastAPI)
    routes = [(method, path) for path, methods in app.openapi()["paths"].items() for method in methods]
    routes.append(("post", "/internal/skip/t/0/0"))
    assert len(routes) > 20
    for method, template in routes:
        if template in open_paths:
            continue
        path = template.replace("{model_id}", "m").replace("{version}", "1.0.0").replace("{key_id}", "k")
        for key in ("", "Bearer tt_wrong", "Basic eA=="):
            answer = await guarded.client.request(method, path, headers={"Authorization": key})
            assert answer.status_code == 401, (method, path, answer.text)


async def test_scopes_and_prefixes(guarded: Registry) -> None:
    reader = await granted(guarded, "read")
    writer = await granted(guarded, "write", prefixes=("blue-",))
    deployer = await granted(guarded, "deploy", prefixes=("blue-",))
    assert (await guarded.client.get("/mlops/models", headers=reader)).status_code == 200
    for headers, model_id, status in ((reader, "blue-1", 403), (writer, "red-1", 403), (writer, "blue-1", 201)):
        guarded.client.headers.update(headers)
        assert (await guarded.register(model_id)).status_code == status
    guarded.client.headers.update(INTERNAL)
    red = await guarded.version(1, "staging", "production", model_id="red-1")
    await guarded.version(2, model_id="BLUE-2")  # another prefix: case counts
    blue = (await guarded.client.get("/mlops/models/blue-1")).json()["versions"][0]["version"]
    guarded.client.headers.update(writer)
    assert (await guarded.promote(blue, "staging", "blue-1")).status_code == 200
    assert (await guarded.promote(red, "archived", "red-1")).status_code == 403
    assert [m["model_id"] for m in (await guarded.client.get("/mlops/models")).json()["models"]] == ["blue-1"]
    assert (await guarded.client.post("/mlops/deploy", json={"model_id": "blue-1", "version": blue})).status_code == 403
    guarded.client.headers.update(deployer)
    assert (await guarded.client.post("/mlops/deploy", json={"model_id": "blue-1", "version": blue})).status_code == 202
    assert (await guarded.client.post("/mlops/deploy", json={"model_id": "red-1"})).status_code == 403
    assert len((await guarded.client.get("/mlops/deployments")).json()["deployments"]) == 1
    assert (await guarded.client.get("/mlops/keys")).status_code == 403


async def test_a_digest_alone_tells_nobody_what_anothers_graph_takes(guarded: Registry) -> None:
    """That bytes are missing is said first: what a signature is held against are bytes that the key may use."""
    data = classifier(1).SerializeToString()
    guarded.client.headers.update(INTERNAL)
    assert (await guarded.register("red-1", classifier(1))).status_code == 201
    guarded.client.headers.update(await granted(guarded, "write", prefixes=("blue-",)))
    blob = {"path": "model.onnx", "size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    guess = {"inputs": [{"name": "guessed", "dtype": "float32"}], "outputs": [{"name": "y", "dtype": "float32"}]}
    for metadata in ({"model_id": "blue-1"}, {"model_id": "blue-1", "signature": guess}):
        answer = await guarded.client.post("/mlops/models", json={"metadata": metadata, "files": [blob]})
        assert (answer.status_code, answer.json()["code"]) == (409, "missing-blobs"), answer.text


async def test_a_revoked_key_opens_nothing(guarded: Registry) -> None:
    headers = await granted(guarded, "read")
    assert (await guarded.client.get("/mlops/models", headers=headers)).status_code == 200
    [key] = (await guarded.client.get("/mlops/keys")).json()["keys"]
    await guarded.client.delete(f"/mlops/keys/{key['key_id']}")
    await hear(guarded)
    assert (await guarded.client.get("/mlops/models", headers=headers)).status_code == 401


async def test_the_first_key_is_made_without_a_running_registry(tmp_path: Path) -> None:
    settings = RegistrySettings(data_dir=tmp_path / "new", auth="keys", internal_key="s")
    key_id, key = await asyncio.to_thread(create_directly, settings, "admin", [Scope.ADMIN])
    async for registry in running(settings):
        await hear(registry)
        answer = await registry.client.get("/mlops/keys", headers={"Authorization": f"Bearer {key}"})
        assert [item["key_id"] for item in answer.json()["keys"]] == [key_id]
        assert json.loads(answer.text)["keys"][0]["created_by"] == "command line"


async def test_live_keys_have_names_of_their_own(registry: Registry) -> None:
    wanted = {"name": "ada", "scopes": ["write"]}
    first = await registry.client.post("/mlops/keys", json=wanted)
    again = await registry.client.post("/mlops/keys", json={**wanted, "scopes": ["approve"]})
    assert (first.status_code, again.status_code) == (201, 409)
    assert again.json()["detail"].startswith(f"the key {first.json()['key_id']} is named 'ada' already")
    assert len(await registry.events(ApiKeyGranted)) == 1
    await registry.client.delete(f"/mlops/keys/{first.json()['key_id']}")
    answers = await asyncio.gather(*(registry.client.post("/mlops/keys", json=wanted) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_two_processes_cannot_give_one_name_at_once(registry: Registry) -> None:
    """Each asks before the other has committed."""
    registries = [build(registry.service.settings) for _ in range(2)]  # type: ignore[arg-type]
    met = threading.Barrier(2, timeout=5)

    def ask(number: int) -> str:
        service = registries[number]

        def grant(uow: UnitOfWork) -> str:
            if not service.db.is_sqlite:  # which has one writer at a time
                uow.connection.execute(sa.select(sa.func.count()).select_from(api_keys)).scalar()
                met.wait()
            return create(uow, "ada", [Scope.READ], actor="root")[0]

        try:
            return service.db.write_now(lambda connection: service.work.within(connection, grant))
        except Conflict:
            return "refused"
        finally:
            service.db.close()

    found = await asyncio.gather(*(asyncio.to_thread(ask, number) for number in range(2)))
    assert sum(each == "refused" for each in found) == 1


async def test_the_name_of_a_key_made_in_the_database_is_taken_too(tmp_path: Path) -> None:
    settings = RegistrySettings(data_dir=tmp_path / "new")
    made = await asyncio.to_thread(create_first, settings, "admin", [Scope.ADMIN])
    assert made is not None
    assert await asyncio.to_thread(create_first, settings, "admin", [Scope.ADMIN]) is None
    with pytest.raises(Conflict, match=f"keys revoke {made[0]}"):
        await asyncio.to_thread(create_directly, settings, "admin", [Scope.ADMIN])


async def test_an_admin_of_some_models_is_none_of_all(guarded: Registry) -> None:
    """It could grant itself the rest, trust its own signer for every model, or collect another's bytes."""
    headers = await granted(guarded, "admin", prefixes=("blue-",))
    blue = (await guarded.register("blue-1")).json()["version"]
    assert (await guarded.client.put("/mlops/models/blue-1/policy", json={}, headers=headers)).status_code == 200
    assert (await guarded.promote(blue, "staging", "blue-1")).status_code == 200
    for method, path, body in (
        ("POST", "/mlops/keys", {"name": "more", "scopes": ["admin"]}),
        ("POST", "/mlops/keys", {"name": "more", "scopes": ["admin"], "modelPrefixes": ["blue-"]}),
        ("GET", "/mlops/keys", None),
        ("DELETE", "/mlops/keys/key-1", None),
        ("POST", "/mlops/signers", {"name": "me", "publicKey": "key"}),
        ("DELETE", "/mlops/signers/0", None),
        ("POST", "/mlops/events/replay", {}),
        ("POST", "/mlops/garbage", {"dryRun": True}),
        ("POST", "/mlops/audit/verify", None),
        ("PUT", "/mlops/policy", {}),
        ("DELETE", "/mlops/policy", None),
        ("POST", "/internal/skip/t/0/0", None),
    ):
        answer = await guarded.client.request(method, path, json=body, headers=headers)
        assert answer.status_code == 403, (method, path, answer.text)
        assert "bound to some models" in answer.json()["detail"]


async def test_the_audit_trail_says_which_models_a_key_is_for(guarded: Registry) -> None:
    await granted(guarded, "write", prefixes=("blue-", "red-"))
    rows = await guarded.service.db.read(
        lambda connection: connection.execute(sa.select(audit.c.facts).where(audit.c.action == "key.granted")).all()
    )
    assert [json.loads(row.facts)["model_prefixes"] for row in rows] == [["blue-", "red-"]]
