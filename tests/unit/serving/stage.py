"""A pool over real versions in a real store, and a data plane before it."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from schemas.events import DeploymentWanted, Route
from schemas.features import Signature
from schemas.predictions import PredictionBatch
from schemas.serving_options import ServingOptions
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.storage.local import LocalStore
from services.serving.asking import Asking
from services.serving.catalog import Catalog
from services.serving.config import ServerConfig, read_config
from services.serving.dataplane import DataPlane
from services.serving.exchange import Gate
from services.serving.pool import Pool
from services.serving.predict_api import PredictApi
from services.serving.predlog import LogBudget
from services.serving.settings import ServingSettings
from services.serving.shipper import Shipper
from services.serving.v2 import ProtocolV2
from tests.serving_models import VECTOR, vector_model
from tests.unit.serving.conftest import anybody, no_explanation, nothing_else


class HeldStore(LocalStore):
    """A local store that keeps its readers waiting while `gate` is clear."""

    gate: threading.Event

    def fetch(self, key: str, path: Path) -> None:
        assert self.gate.wait(20)
        super().fetch(key, path)

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        assert self.gate.wait(20)
        return super().get_bytes(key, max_bytes)


class Stage:
    """A pool and the versions that it may load."""

    def __init__(self, root: Path, **settings: Any) -> None:
        self._root = root
        self.settings = ServingSettings(data_dir=root / "data", **settings)
        self.settings.log_dir.mkdir(parents=True, exist_ok=True)
        self.store = HeldStore(root / "store")
        self.store.gate = threading.Event()
        self.store.gate.set()
        budget = LogBudget(1 << 24, "reject")
        self.shipper = Shipper(self.settings.log_dir, _nowhere, budget)
        self.catalog = Catalog()
        self.pool = Pool(self.settings, self.store, self.catalog, budget, self.shipper, read_config(self.settings))
        asking = Asking(self.catalog, budget)
        app = DataPlane(
            PredictApi(asking, anybody),
            ProtocolV2(asking, anybody, self.pool, server_name="trimtab", ready=lambda: True),
            no_explanation,
            Gate(self.settings),
            nothing_else,
        )
        transport = httpx.ASGITransport(app)
        self.client = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3006", timeout=60)

    def publish(
        self,
        model_id: str,
        version: str,
        build: Callable[[Path], object] = vector_model,
        signature: Signature = VECTOR,
    ) -> Route:
        """Put a version into the store; the route to all of it."""
        directory = self._root / f"{model_id}-{version}"
        directory.mkdir()
        build(directory / "model.onnx")
        manifest = build_manifest(directory, model_id=model_id, framework="onnx", signature=signature)
        write_manifest(directory, manifest)
        artifact = f"models/{model_id}/{version}"
        digest = store_version(LocalStore(self._root / "store"), directory, artifact)
        return Route(name="production", version=version, weight=100, artifact=artifact, manifest_digest=digest)

    def want(self, model_id: str, version: str, revision: int, *, pinned: bool = False) -> None:
        """Ask for one new version of a model."""
        self.deploy(model_id, revision, self.publish(model_id, version), pinned=pinned)

    def deploy(self, model_id: str, revision: int, *routes: Route, pinned: bool = False, **state: Any) -> None:
        """Ask for routes."""
        options = ServingOptions(pinned=pinned)
        self.pool.want(
            model_id,
            DeploymentWanted(
                model_id=model_id,
                revision=revision,
                routes=routes,
                options=options,
                since=datetime.now(UTC),
                **state,
            ),
        )

    def configure(self, **fields: Any) -> None:
        """Change the configuration document."""
        self.pool.configure(ServerConfig.model_validate(self.pool.config.model_dump() | fields))

    def answering(self, model_id: str) -> list[str]:
        """The versions that a model answers by."""
        deployed = self.catalog.models.get(model_id)
        return [] if deployed is None else list(deployed.versions)

    async def ask(self, model_id: str, rows: int = 1) -> httpx.Response:
        """One prediction, or a batch of them."""
        row = {"x": [0.123456789012345] * 4}
        if rows == 1:
            return await self.client.post("/mlops/predict", json={"modelId": model_id, "input": row})
        return await self.client.post("/mlops/predict/batch", json={"modelId": model_id, "inputs": [row] * rows})


@asynccontextmanager
async def staged(root: Path, **settings: Any) -> AsyncIterator[Stage]:
    """An empty pool."""
    stage = Stage(root, **settings)
    try:
        yield stage
    finally:
        stage.store.gate.set()
        await stage.client.aclose()
        await stage.pool.stop()
        await stage.shipper.stop(1)


async def _nowhere(_: PredictionBatch) -> None:
    """What is predicted here is kept nowhere."""
