"""Registering while garbage is collected: whoever got an answer has a version whose every byte is there."""

import asyncio
import hashlib
import random
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.manifest import MANIFEST_NAME, Manifest
from services.kernel import artifacts
from services.kernel.errors import Conflict
from services.registry import tables, versions
from services.registry.keeping import garbage
from services.registry.keeping.collector import Collector
from services.registry.keeping.report import Graces
from tests.contract.registry.conftest import Registry
from tests.contract.registry.leftovers import HOUR, blob, keys, leave
from tests.graphs import classifier
from tests.waiting import until

ORPHAN = "models/left/orphan"
GRACE_SECONDS = 1.0
"""A day in this small world."""
GRACES = Graces(GRACE_SECONDS, GRACE_SECONDS, 0.0)
CONTENTS = 60


async def test_no_registered_version_ever_lacks_a_byte(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are left behind, and come into use again just when they are condemned, claimed or removed.

    Two collectors pass without a pause. Half of the senders name the bytes by their digest alone.
    """
    monkeypatch.setattr(artifacts, "TOUCH_AFTER", timedelta(0))  # every use makes young, as hourly does in a day
    chance = random.Random(4)
    graph = classifier(99).SerializeToString()
    assert (await registry.register("base", classifier(99))).status_code == 201
    registered: list[str] = []
    done = asyncio.Event()
    counts = {"removed": 0, "missing": 0, "being-collected": 0}

    async def live(number: int) -> None:
        data = f"content {number}".encode()
        await asyncio.sleep(number * 0.1)
        if number % 3:
            await asyncio.to_thread(registry.store.put_bytes, blob(data), data)
        else:
            await asyncio.to_thread(leave, registry.store, f"models/left/{number}", {"notes.md": data})
        await asyncio.sleep(chance.uniform(1.5, 4.5) * GRACE_SECONDS)
        by_digest = number % 2 == 0
        while True:
            answer = await (name(number, data) if by_digest else send(number, data))
            if answer.status_code == 201:
                registered.append(f"/mlops/models/m{number}/{answer.json()['version']}")
                return
            code = answer.json()["code"]
            if code == "missing-blobs":
                counts["missing"] += 1
                by_digest = False
            else:
                assert code in ("being-collected", "unavailable"), answer.text
                counts["being-collected"] += 1
                await asyncio.sleep(0.05)

    async def send(number: int, data: bytes):  # type: ignore[no-untyped-def]
        return await registry.register(f"m{number}", classifier(99), files={"notes.md": data})

    async def name(number: int, data: bytes):  # type: ignore[no-untyped-def]
        files = [
            {"path": path, "size": len(each), "sha256": hashlib.sha256(each).hexdigest()}
            for path, each in (("model.onnx", graph), ("notes.md", data))
        ]
        document = {"metadata": {"model_id": f"m{number}"}, "files": files}
        return await registry.client.post("/mlops/models", json=document)

    async def collect() -> None:
        mine = Collector(registry.service.work, registry.store, GRACES, HOUR)
        while not done.is_set():
            try:
                counts["removed"] += (await mine.collect()).removed
            except Conflict:  # the other one's turn
                await asyncio.sleep(0.02)

    collectors = [asyncio.create_task(collect()) for _ in range(2)]
    try:
        async with asyncio.timeout(240):
            await asyncio.gather(*(live(number) for number in range(CONTENTS)))
    finally:
        done.set()
        await asyncio.gather(*collectors)
    assert len(registered) == CONTENTS
    assert counts["removed"] >= CONTENTS // 6, counts
    for path in registered:
        verdict = (await registry.client.post(f"{path}/verify")).json()
        assert verdict["state"] == "ok", (path, verdict, counts)
    last = Collector(registry.service.work, registry.store, Graces(0.0, 0.0, 0.0), HOUR)
    await last.collect()
    assert len(keys(registry.store, "blobs")) == CONTENTS + 1, "and nothing else is left"


async def test_a_manifest_that_is_stored_again_after_the_claim_stays(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector had listed the folder before: old, and named by nobody."""
    manifest = leave(registry.store, ORPHAN)
    await grown_old(registry, manifest)
    claim = garbage.claim

    def stored_again(connection: sa.Connection, keys: Sequence[str], *rest: Any) -> list[str]:
        claimed = claim(connection, keys, *rest)
        if ORPHAN in claimed:
            registry.store.put_bytes(f"{ORPHAN}/{MANIFEST_NAME}", manifest.to_bytes())
        return claimed

    monkeypatch.setattr(garbage, "claim", stored_again)
    report = await Collector(registry.service.work, registry.store, GRACES, HOUR).collect()
    assert (report.removed, report.spared) == (0, 1)
    assert keys(registry.store, "models") == {f"{ORPHAN}/{MANIFEST_NAME}"}
    row, created = await registry.service.work.run(
        lambda uow: versions.register(
            uow, manifest, manifest_digest=manifest.manifest_digest, artifact=ORPHAN, actor="somebody"
        )
    )
    assert created
    assert (await registry.client.post(f"/mlops/models/left/{row.version}/verify")).json()["state"] == "ok"


async def test_who_stores_a_manifest_again_waits_for_the_end_of_its_removal(registry: Registry) -> None:
    """Else it would be removed behind whoever stored it, and the version registered without one."""
    db, manifest = registry.service.db, leave(registry.store, ORPHAN)
    digests = [file.sha256 for file in manifest.files]
    await db.write(lambda c: garbage.condemn(c, {ORPHAN: 1}, 0.0))
    await garbage.rescue_first(db, digests, f"{ORPHAN}/deeper")
    assert await db.read(garbage.waiting) == (0, 0)
    await db.write(lambda c: garbage.condemn(c, {ORPHAN: 1}, 0.0))
    assert await db.write(lambda c: garbage.claim(c, [ORPHAN], set(), 0.0, time.time())) == [ORPHAN]
    with pytest.raises(garbage.BeingCollected, match=ORPHAN):
        await garbage.rescue_first(db, digests, ORPHAN)
    await db.write(lambda c: garbage.spare(c, [ORPHAN]))
    await garbage.rescue_first(db, digests, ORPHAN)


async def test_what_retention_gave_up_is_rescued_by_whoever_stores_it_again(registry: Registry) -> None:
    """Its manifest is removed like all garbage: condemned first, a grace later, and never behind a new use."""
    version = await registry.version(1, model_id="left")
    path = f"/mlops/models/left/{version}"
    assert (await registry.client.post(f"{path}/archive")).status_code == 200
    document = {"retention": {"drop_archived_bytes_after_days": 0, "keep_newest": 0}}
    assert (await registry.client.put("/mlops/models/left/policy", json=document)).status_code == 200
    passes = Collector(registry.service.work, registry.store, Graces(HOUR, HOUR, 0.0), HOUR)
    assert [each.version for each in (await passes.collect()).dropped] == [version]
    found = (await registry.client.get(path)).json()
    assert found["bytes_dropped_at"] is not None
    unit, digests = found["artifact"], [file["sha256"] for file in found["files"]]
    assert await registry.service.db.read(garbage.waiting) == (1, found["size_bytes"])
    assert len(keys(registry.store)) == 2
    await garbage.rescue_first(registry.service.db, digests, unit)
    back = tables.versions.update().where(tables.versions.c.version == version).values(bytes_dropped_at=None)
    await registry.service.db.write(lambda c: c.execute(back))
    await registry.service.db.write(lambda c: garbage.hold(c, unit, digests))
    await registry.client.delete("/mlops/models/left/policy")
    await Collector(registry.service.work, registry.store, Graces(0.0, 0.0, 0.0), HOUR).collect()
    assert (await registry.client.post(f"{path}/verify")).json()["state"] == "ok"


async def grown_old(registry: Registry, manifest: Manifest) -> None:
    """Seen and condemned long ago, and older than the grace."""
    digests = [file.sha256 for file in manifest.files]
    await registry.service.db.write(lambda c: garbage.hold(c, ORPHAN, digests))
    await registry.service.db.write(lambda c: garbage.condemn(c, {ORPHAN: 1}, 0.0))
    newest = max(item.modified for item in registry.store.list(ORPHAN)).timestamp()

    async def is_old() -> bool:
        return time.time() - newest > GRACE_SECONDS + 0.5

    await until(is_old, 30, "the end of the grace")
