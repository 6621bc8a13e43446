"""The registry's routes without a broker: its events wait in the outbox, where the tests read them."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import onnx
import pytest
import sqlalchemy as sa

from schemas.base import Message
from schemas.codec import decode
from schemas.topics import message_of
from services.kernel.migrate import migrate
from services.kernel.service import Service
from services.kernel.storage import ArtifactStore, open_store
from services.kernel.tables import outbox
from services.registry.app import build
from services.registry.settings import RegistrySettings
from tests.contract.stores import s3_settings
from tests.graphs import classifier


class Registry:
    """A client of the routes, and what happened behind them."""

    def __init__(self, service: Service, client: httpx.AsyncClient, store: ArtifactStore) -> None:
        self.service = service
        self.client = client
        self.store = store

    async def register(
        self,
        model_id: str = "threat-classifier",
        graph: onnx.ModelProto | None = None,
        files: dict[str, bytes] | None = None,
        headers: dict[str, str] | None = None,
        **metadata: Any,
    ) -> httpx.Response:
        """Upload a version; unless `changes` are given, they say that it is a test's."""
        parts = {"model.onnx": (graph or classifier()).SerializeToString(), **(files or {})}
        return await self.client.post(
            "/mlops/models",
            data={"metadata": json.dumps({"model_id": model_id, "changes": "a test's", **metadata})},
            files=[("file", (name, data)) for name, data in parts.items()],
            headers=headers,
        )

    async def version(self, seed: int, *stages: str, model_id: str = "threat-classifier") -> str:
        """Register a version and promote it through `stages`."""
        answer = await self.register(model_id, classifier(seed))
        assert answer.status_code == 201, answer.text
        version = str(answer.json()["version"])
        for stage in stages:
            moved = await self.promote(version, stage, model_id)
            assert moved.status_code == 200, moved.text
        return version

    async def promote(
        self, version: str, stage: str, model_id: str = "threat-classifier", **rest: Any
    ) -> httpx.Response:
        """Move a version."""
        return await self.client.post(
            f"/mlops/models/{model_id}/{version}/promote", json={"stage": stage, "comment": f"to {stage}", **rest}
        )

    async def deploy(self, headers: dict[str, str] | None = None, **document: Any) -> httpx.Response:
        """Deploy the model under test."""
        return await self.client.post(
            "/mlops/deploy", json={"modelId": "threat-classifier", **document}, headers=headers
        )

    async def events(self, *kinds: type[Message]) -> list[Any]:
        """What was published, in order; of these types, if any are named."""

        def read(connection: sa.Connection) -> list[Any]:
            return list(connection.execute(sa.select(outbox.c.headers, outbox.c.body).order_by(outbox.c.seq)))

        found = []
        for headers, body in await self.service.db.read(read):
            kind = message_of(dict(json.loads(headers))["ce_type"])
            assert kind is not None
            if not kinds or kind in kinds:
                found.append(decode(kind, body))
        return found


async def running(settings: RegistrySettings) -> AsyncIterator[Registry]:
    """A registry whose routes answer."""
    service = build(settings)
    await asyncio.to_thread(migrate, service.db, "services.registry.migrations")
    assert service.app is not None
    transport = httpx.ASGITransport(app=service.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        yield Registry(service, client, open_store(settings))
    service.db.close()


PAIRS = ("sqlite-local", "postgres-s3")
"""The database and the store of a registry. Every test runs on both pairs."""
CROSSED_PAIRS = ("sqlite-s3", "postgres-local")
"""`CROSSED` runs on these as well, and everything does when TRIMTAB_TEST_EVERY_PAIR is set (`make soak`)."""
CROSSED = {"test_register", "test_registrar", "test_retention"}
"""The modules in which the database and the store depend on each other most."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Choose the pairs of a test."""
    if "registry_settings" in metafunc.fixturenames:
        module = metafunc.module.__name__.rpartition(".")[2]
        crossed = module in CROSSED or "TRIMTAB_TEST_EVERY_PAIR" in os.environ
        metafunc.parametrize("registry_settings", PAIRS + CROSSED_PAIRS if crossed else PAIRS, indirect=True)


@pytest.fixture
def registry_settings(request: pytest.FixtureRequest, tmp_path: Path) -> RegistrySettings:
    """Of a registry on one pair of database and store."""
    database, _, store = request.param.partition("-")
    tmp_path.joinpath("data").mkdir()
    values: dict[str, Any] = {"data_dir": tmp_path / "data"}
    if store == "s3":
        s3 = s3_settings(request.getfixturevalue("s3_server"), request.getfixturevalue("s3_bucket"))
        values |= s3.model_dump(include={"model_storage_type", "s3_bucket", "s3_endpoint_url", "s3_access_key_id"})
        values |= {"s3_secret_access_key": s3.s3_secret_access_key}
    if database == "postgres":
        values |= {"database_url": request.getfixturevalue("postgres_url")}
    return RegistrySettings(**values)


@pytest.fixture
async def registry(registry_settings: RegistrySettings) -> AsyncIterator[Registry]:
    """The registry on every pair of database and store."""
    async for running_registry in running(registry_settings):
        yield running_registry
