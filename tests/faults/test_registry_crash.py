"""Kill -9 of the registry while it keeps bytes: nothing half-visible, and what was left behind is collected."""

import asyncio
import json
import os
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.kernel.bus.admin import apply_topics
from services.kernel.leash import leashed
from services.kernel.settings import Settings
from services.kernel.storage import ArtifactStore, open_store
from tests.contract.stores import s3_settings
from tests.graphs import classifier
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.ports import free_ports

MODEL = "threat-classifier"


@pytest.fixture(params=["local", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of the artifact store."""
    if request.param == "local":
        return Settings(data_dir=tmp_path)
    return s3_settings(request.getfixturevalue("s3_server"), request.getfixturevalue("s3_bucket"))


class Lives:
    """The registry as a process that dies and comes back on the same database and store."""

    def __init__(self, broker: LocalBroker, topic_prefix: str, folder: Path, storage: Settings) -> None:
        self.folder = folder
        self.store: ArtifactStore = open_store(storage)
        self.settings = Settings(kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=1)
        secret = storage.s3_secret_access_key
        self._environment = {
            "TRIMTAB_KAFKA_BOOTSTRAP": broker.bootstrap,
            "TRIMTAB_TOPIC_PREFIX": topic_prefix,
            "TRIMTAB_DATA_DIR": str(folder),
            "TRIMTAB_SESSION_TIMEOUT_SECONDS": "6",
            "TRIMTAB_REGISTRY_GRACE_SECONDS": "0",
            "MODEL_STORAGE_TYPE": storage.model_storage_type,
            "S3_BUCKET": storage.s3_bucket or "",
            "S3_ENDPOINT_URL": storage.s3_endpoint_url or "",
            "AWS_ACCESS_KEY_ID": storage.s3_access_key_id or "",
            "AWS_SECRET_ACCESS_KEY": secret.get_secret_value() if secret else "",
        }

    @asynccontextmanager
    async def life(self, failpoint: str = "") -> AsyncIterator[tuple[httpx.AsyncClient, asyncio.subprocess.Process]]:
        """One process, ready; killed at the end if it has not died."""
        (port,) = free_ports(1)
        environment = {name: value for name, value in (os.environ | self._environment).items() if value}
        environment |= {"TRIMTAB_REGISTRY_PORT": str(port), "TRIMTAB_FAILPOINTS": failpoint}
        command = leashed([sys.executable, "-m", "services.registry"])
        process = await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)
        try:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                await until(lambda: _ready(client), timeout_seconds=60, what="the registry")
                yield client, process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    def keys(self) -> set[str]:
        """Everything in the store."""
        return {item.key for folder in ("models", "blobs") for item in self.store.list(folder)}


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def lives(broker: LocalBroker, topic_prefix: str, tmp_path: Path, storage: Settings) -> Lives:
    """A registry that has not lived yet."""
    found = Lives(broker, topic_prefix, tmp_path, storage)
    await apply_topics(found.settings)
    return found


async def upload(client: httpx.AsyncClient) -> httpx.Response:
    """Register the version."""
    files = {"model.onnx": classifier(1).SerializeToString(), "notes.md": b"of this version"}
    return await client.post(
        "/mlops/models",
        data={"metadata": json.dumps({"model_id": MODEL})},
        files=[("file", part) for part in files.items()],
    )


async def collected(client: httpx.AsyncClient) -> dict[str, Any]:
    """What one pass did."""
    answer = await client.post("/mlops/garbage")
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_killed_between_storing_and_registering(lives: Lives) -> None:
    async with lives.life("registry-stored-before-register") as (client, process):
        with pytest.raises(httpx.TransportError):
            await upload(client)
        assert await process.wait() == -signal.SIGKILL
    assert len(lives.keys()) == 3, "two files and a manifest were stored"
    async with lives.life() as (client, _):
        assert (await client.get(f"/mlops/models/{MODEL}")).status_code == 404
        assert (await client.get("/mlops/models")).json()["models"] == []
        report = await collected(client)
        assert report["removed"] == 3
        assert lives.keys() == set()
        again = await upload(client)
        assert again.status_code == 201
        path = f"/mlops/models/{MODEL}/{again.json()['version']}"
        assert (await collected(client))["removed"] == 0
        assert (await client.post(f"{path}/verify")).json()["state"] == "ok"


@pytest.mark.parametrize("storage", ["local"], indirect=True)
async def test_killed_between_claiming_and_removing(lives: Lives) -> None:
    async with lives.life("registry-stored-before-register") as (client, process):
        with pytest.raises(httpx.TransportError):
            await upload(client)
        await process.wait()
    async with lives.life("collector-claimed:2") as (client, process):  # the folder goes first, then the files
        with pytest.raises(httpx.TransportError):
            await client.post("/mlops/garbage")
        assert await process.wait() == -signal.SIGKILL
    left = lives.keys()
    assert len(left) == 2
    async with lives.life() as (client, _):
        refused = await upload(client)
        assert (refused.status_code, refused.json()["code"]) == (503, "being-collected")
    with closing(sqlite3.connect(lives.folder / "registry.db")) as database, database:
        database.execute("UPDATE condemned SET claimed_at = claimed_at - 3600")
        database.execute("UPDATE leases SET expires_at = 0")
    async with lives.life() as (client, _):
        assert (await collected(client))["removed"] == 2
        answer = await upload(client)
        assert answer.status_code == 201
        path = f"/mlops/models/{MODEL}/{answer.json()['version']}"
        assert (await client.post(f"{path}/verify")).json()["state"] == "ok"


@pytest.mark.parametrize("storage", ["local"], indirect=True)
async def test_killed_between_giving_bytes_up_and_removing_them(lives: Lives) -> None:
    async with lives.life("retention-before-removal") as (client, process):
        version = (await upload(client)).json()["version"]
        await client.post(f"/mlops/models/{MODEL}/{version}/archive")
        policy = {"retention": {"drop_archived_bytes_after_days": 0, "keep_newest": 0}}
        answer = await client.put(f"/mlops/models/{MODEL}/policy", json=policy)
        assert answer.status_code == 200, answer.text
        with pytest.raises(httpx.TransportError):
            await client.post("/mlops/garbage")
        assert await process.wait() == -signal.SIGKILL
    assert len(lives.keys()) == 3
    with closing(sqlite3.connect(lives.folder / "registry.db")) as database, database:
        database.execute("UPDATE leases SET expires_at = 0")
    async with lives.life() as (client, _):
        found = (await client.get(f"/mlops/models/{MODEL}/{version}")).json()
        assert found["bytes_dropped_at"] is not None
        await collected(client)
        assert lives.keys() == set()
        assert (await client.get(f"/mlops/models/{MODEL}/{version}")).json()["stage"] == "archived"
