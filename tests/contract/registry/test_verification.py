"""Every stored byte can be checked; what is wrong is named."""

from typing import Any

import pytest
import sqlalchemy as sa

from schemas.manifest import MANIFEST_NAME
from services.registry.tables import audit
from tests.contract.registry.conftest import Registry
from tests.contract.registry.leftovers import blob
from tests.graphs import classifier

MODEL = "threat-classifier"
NOTES = b"notes " * 1000


async def registered(registry: Registry) -> tuple[str, dict[str, Any]]:
    answer = await registry.register(graph=classifier(1), files={"notes.md": NOTES})
    assert answer.status_code == 201, answer.text
    return f"/mlops/models/{MODEL}/{answer.json()['version']}", answer.json()


async def verdict(registry: Registry, path: str) -> tuple[str, dict[str, str]]:
    answer = await registry.client.post(f"{path}/verify")
    assert answer.status_code == 200, answer.text
    return answer.json()["state"], {file["path"]: file["state"] for file in answer.json()["files"]}


async def test_a_whole_version_is_ok(registry: Registry) -> None:
    path, found = await registered(registry)
    answer = (await registry.client.post(f"{path}/verify")).json()
    assert answer["state"] == "ok"
    assert [file["path"] for file in answer["files"]] == [MANIFEST_NAME, "model.onnx", "notes.md"]
    assert answer["manifest_digest"] == found["manifest_digest"]
    assert answer["bytes_read"] > found["size_bytes"]
    assert answer["signatures"] == []


@pytest.mark.parametrize(
    ("data", "state", "says"),
    [
        (NOTES[:-1] + b"!", "damaged", "SHA-256"),
        (NOTES[:-1], "damaged", f"{len(NOTES) - 1} of its {len(NOTES)} bytes"),
        (NOTES + b"!", "damaged", f"more than its {len(NOTES)} bytes"),
        (b"", "damaged", "0 of its"),
        (None, "missing", "does not have it"),
    ],
)
async def test_a_file_that_is_not_what_it_was(registry: Registry, data: bytes | None, state: str, says: str) -> None:
    path, _ = await registered(registry)
    if data is None:
        registry.store.delete(blob(NOTES))
    else:
        registry.store.put_bytes(blob(NOTES), data)
    answer = (await registry.client.post(f"{path}/verify")).json()
    assert answer["state"] == "bad"
    (bad,) = [file for file in answer["files"] if file["state"] != "ok"]
    assert (bad["path"], bad["state"]) == ("notes.md", state)
    assert says in bad["detail"]


@pytest.mark.parametrize(("data", "state"), [(b"{}", "damaged"), (None, "missing"), (b"x" * (9 << 20), "damaged")])
async def test_a_manifest_that_is_not_what_it_was(registry: Registry, data: bytes | None, state: str) -> None:
    path, found = await registered(registry)
    key = f"{found['artifact']}/{MANIFEST_NAME}"
    if data is None:
        registry.store.delete(key)
    else:
        registry.store.put_bytes(key, data)
    assert await verdict(registry, path) == ("bad", {MANIFEST_NAME: state, "model.onnx": "ok", "notes.md": "ok"})


async def test_a_version_of_the_old_layout_is_verified_too(registry: Registry) -> None:
    path, found = await registered(registry)
    for name, data in (("model.onnx", classifier(1).SerializeToString()), ("notes.md", NOTES)):
        registry.store.put_bytes(f"{found['artifact']}/{name}", data)
        registry.store.delete(blob(data))
    assert (await verdict(registry, path))[0] == "ok"
    registry.store.put_bytes(f"{found['artifact']}/notes.md", b"other")
    assert (await verdict(registry, path))[0] == "bad"


async def test_an_unknown_version_is_a_404(registry: Registry) -> None:
    assert (await registry.client.post(f"/mlops/models/{MODEL}/1.0.0/verify")).status_code == 404


async def changed(registry: Registry, statement: sa.Executable) -> dict[str, Any]:
    await registry.service.db.write(lambda connection: connection.execute(statement))
    return dict((await registry.client.post("/mlops/audit/verify")).json())


async def test_the_audit_trail(registry: Registry) -> None:
    for seed in (1, 2, 3):
        await registry.version(seed, "staging")
    whole = (await registry.client.post("/mlops/audit/verify")).json()
    assert whole == {"rows": 6, "broken_at": None}
    assert await changed(registry, audit.update().where(audit.c.seq == 4).values(actor="eve")) == {
        "rows": 6,
        "broken_at": 4,
    }


async def test_an_audit_trail_that_lost_its_end_is_broken(registry: Registry) -> None:
    await registry.version(1, "staging")
    assert await changed(registry, audit.delete().where(audit.c.seq == 2)) == {"rows": 2, "broken_at": 2}
