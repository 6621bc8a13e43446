"""Registering while garbage is collected: whoever got an answer has a version whose every byte is there."""

import asyncio
import hashlib
import random
from datetime import timedelta

import pytest

from services.kernel import artifacts
from services.kernel.errors import Conflict
from services.registry.keeping.collector import Collector, Graces
from tests.contract.registry.conftest import Registry
from tests.contract.registry.leftovers import HOUR, blob, keys, leave
from tests.graphs import classifier

GRACE_SECONDS = 1.0
"""A day in this small world."""
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
        mine = Collector(registry.service.work, registry.store, Graces(GRACE_SECONDS, GRACE_SECONDS), HOUR)
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
    last = Collector(registry.service.work, registry.store, Graces(0.0, 0.0), HOUR)
    await last.collect()
    assert len(keys(registry.store, "blobs")) == CONTENTS + 1, "and nothing else is left"
