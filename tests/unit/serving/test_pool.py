"""The pool over real versions in a real store: what is wanted is what answers."""

import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from schemas.events import DeploymentWanted, Route
from schemas.predictions import PredictionBatch
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.storage.local import LocalStore
from services.serving.catalog import Catalog
from services.serving.config import read_config
from services.serving.pool import Pool
from services.serving.predlog import LogBudget
from services.serving.settings import ServingSettings
from services.serving.shipper import Shipper
from tests.serving_models import VECTOR, vector_model
from tests.waiting import until


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

    def __init__(self, root: Path) -> None:
        self._root = root
        settings = ServingSettings(data_dir=root / "data")
        settings.log_dir.mkdir(parents=True)
        self.store = HeldStore(root / "store")
        self.store.gate = threading.Event()
        self.store.gate.set()
        budget = LogBudget(1 << 24, "reject")
        self.shipper = Shipper(settings.log_dir, _nowhere, budget)
        self.catalog = Catalog(budget)
        self.pool = Pool(settings, self.store, self.catalog, budget, self.shipper, read_config(settings))

    def want(self, model_id: str, version: str, revision: int) -> None:
        """Ask for one version of a model."""
        directory = self._root / f"{model_id}-{version}"
        directory.mkdir()
        vector_model(directory / "model.onnx")
        manifest = build_manifest(directory, model_id=model_id, framework="onnx", signature=VECTOR)
        write_manifest(directory, manifest)
        artifact = f"models/{model_id}/{version}"
        digest = store_version(LocalStore(self._root / "store"), directory, artifact)
        route = Route(name="production", version=version, weight=100, artifact=artifact, manifest_digest=digest)
        wanted = DeploymentWanted(model_id=model_id, revision=revision, routes=(route,), since=datetime.now(UTC))
        self.pool.want(model_id, wanted)

    def answering(self, model_id: str) -> list[str]:
        """The versions that a model answers by."""
        deployed = self.catalog.models.get(model_id)
        return [] if deployed is None else list(deployed.versions)


async def _nowhere(_: PredictionBatch) -> None:
    """Nothing is predicted here."""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty pool."""
    stage = Stage(tmp_path)
    yield stage
    stage.store.gate.set()
    await stage.pool.stop()
    await stage.shipper.stop(1)


async def test_a_model_that_is_being_updated_keeps_its_place(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await until(lambda: stage.answering("m") == ["1.0.0"], 20, "the first version")
    stage.want("other", "1.0.0", 1)
    await until(lambda: stage.answering("other") == ["1.0.0"], 20, "the other model")
    stage.store.gate.clear()
    stage.want("m", "2.0.0", 2)
    stage.pool.config = stage.pool.config.model_copy(update={"max_models_in_memory": 1})
    stage.pool.make_room()
    assert stage.answering("m") == ["1.0.0"]
    stage.store.gate.set()
    await until(lambda: stage.answering("m") == ["2.0.0"], 20, "the second version")
    await until(lambda: stage.answering("other") == [], 20, "room")
    stage.want("m", "3.0.0", 3)
    await until(lambda: stage.answering("m") == ["3.0.0"], 20, "the third version")
    assert stage.pool.converged["m"] == 3
