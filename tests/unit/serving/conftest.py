"""A data plane without a broker: real models, a real log, batches collected in a list."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from schemas.events import DeploymentWanted, LoadedVersion, Route
from schemas.features import Signature
from schemas.predictions import PredictionBatch
from schemas.serving_options import ServingOptions
from services.kernel.errors import NotBuilt, NotFound
from services.kernel.settings import Settings
from services.serving.asking import Asking
from services.serving.cache.memory import MemoryCache
from services.serving.catalog import Catalog, Deployed
from services.serving.dataplane import DataPlane
from services.serving.exchange import Exchange, Gate
from services.serving.predict_api import PredictApi
from services.serving.predlog import LogBudget, ModelLog
from services.serving.runtime import Runtime
from services.serving.runtime.onnx import OnnxRuntime
from services.serving.served import ServedVersion
from services.serving.shipper import Shipper
from services.serving.v2 import ProtocolV2
from tests import serving_models


@dataclass
class Plane:
    """One data plane under test."""

    directory: Path
    catalog: Catalog
    asking: Asking
    budget: LogBudget
    executor: ThreadPoolExecutor
    shipper: Shipper
    batches: list[PredictionBatch]
    gate: Gate
    app: DataPlane
    client: httpx.AsyncClient
    served: list[ServedVersion] = field(default_factory=list)
    """Every version that was ever deployed."""

    def deploy(
        self,
        model_id: str,
        versions: Mapping[str, tuple[Signature, Runtime]],
        *,
        weights: dict[str, float] | None = None,
        shadow: str | None = None,
        fallback: str | None = None,
        sticky_key: str | None = None,
        **more: Any,
    ) -> Deployed:
        """Serve `versions` of a model; the first takes all the traffic unless `weights` say otherwise. `more` are
        fields of the wanted state."""
        model_log = ModelLog(self.directory, model_id, "replica-1", self.budget)
        self.shipper.carry(model_log)
        served = {
            version: ServedVersion(
                model_id,
                version,
                signature,
                runtime,
                model_log,
                self.executor,
                identity=f"{model_id}-{version}",
            )
            for version, (signature, runtime) in versions.items()
        }
        weights = weights or {next(iter(versions)): 100.0}
        routes = tuple(route(f"route-{v}", v, weight) for v, weight in weights.items())
        wanted = DeploymentWanted(
            model_id=model_id,
            revision=1,
            routes=routes,
            shadow=route("shadow", shadow, 0) if shadow else None,
            fallback=route("fallback", fallback, 0) if fallback else None,
            sticky_key=sticky_key,
            since=datetime.now(UTC),
            **more,
        )
        self.served += served.values()
        return self.catalog.install(wanted, served)


def route(name: str, version: str, weight: float) -> Route:
    """A route whose artifact nobody asks for."""
    return Route(name=name, version=version, weight=weight, artifact="models/none", manifest_digest="0" * 64)


async def nothing_else(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind the data plane: 404 for all."""
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"not a prediction"})


async def no_explanation(exchange: Exchange) -> None:
    """What `tests/unit/serving/explain` is about."""
    raise NotBuilt("no explanations here")


def anybody(authorization: str | None, scope: str, model_id: str | None) -> None:
    """Everybody may do everything."""


class AsPut:
    """In place of a pool: what a test puts into the catalog is all there is. `stage.Stage` has a real one."""

    def report(self) -> tuple[LoadedVersion, ...]:
        """Nothing is wanted."""
        return ()

    def aside(self, model_id: str) -> None:
        """Nothing is unloaded."""

    async def load_now(self, model_id: str) -> None:
        """Nothing is deployed."""
        raise NotFound("nothing is deployed")

    async def unload_now(self, model_id: str) -> None:
        """Nothing is deployed."""
        raise NotFound("nothing is deployed")


@pytest.fixture
def executor() -> Iterator[ThreadPoolExecutor]:
    """The thread for runs that would block."""
    with ThreadPoolExecutor(1) as pool:
        yield pool


@pytest.fixture
async def plane(tmp_path: Path, executor: ThreadPoolExecutor) -> AsyncIterator[Plane]:
    """A data plane with the models `vector`, `table` and `number`."""
    async with plane_in(tmp_path, executor) as made:
        yield made


@asynccontextmanager
async def plane_in(root: Path, executor: ThreadPoolExecutor) -> AsyncIterator[Plane]:
    """The same, with its files below `root`."""
    directory = root / "log"
    directory.mkdir()
    budget = LogBudget(1 << 24, "reject")
    batches: list[PredictionBatch] = []

    async def keep(batch: PredictionBatch) -> None:
        await asyncio.sleep(0)
        batches.append(PredictionBatch.decode(batch.encode()))

    shipper = Shipper(directory, keep, budget)
    catalog = Catalog()
    asking = Asking(catalog, budget, cache=MemoryCache(1 << 20))
    gate = Gate(Settings())
    app = DataPlane(
        PredictApi(asking, anybody),
        ProtocolV2(asking, anybody, AsPut(), server_name="trimtab", ready=lambda: True),
        no_explanation,
        gate,
        nothing_else,
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:3006") as client:
        made = Plane(directory, catalog, asking, budget, executor, shipper, batches, gate, app, client)
        for model_id, signature, build in (
            ("vector", serving_models.VECTOR, serving_models.vector_model),
            ("table", serving_models.TABLE, serving_models.table_model),
            ("number", serving_models.NUMBER, serving_models.number_model),
        ):
            runtime = OnnxRuntime(build(root / f"{model_id}.onnx"), signature)
            options = ServingOptions(request_rows=1000) if model_id == "number" else ServingOptions()
            made.deploy(model_id, {"1.0.0": (signature, runtime)}, options=options)
        yield made
    await shipper.stop(5)


@pytest.fixture
async def settled(plane: Plane) -> AsyncIterator[None]:
    """Afterwards nothing runs in a thread any more."""
    yield
    for served in plane.served:
        await served.batcher.drained()
