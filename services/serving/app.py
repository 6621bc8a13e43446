"""Serving, put together."""

import asyncio
import gc
from collections.abc import Iterable
from datetime import UTC, datetime

from prometheus_client import REGISTRY

from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import Scope
from schemas.predictions import PredictionBatch
from schemas.topics import topic_of
from services.kernel.bus.probe import BrokerProbe
from services.kernel.bus.producer import Producer
from services.kernel.bus.table_reader import TableReader
from services.kernel.http.api import create_api
from services.kernel.service import Service, Sharing
from services.kernel.storage import open_store
from services.serving.api import ROUTERS
from services.serving.asking import Asking
from services.serving.cache.opening import open_cache
from services.serving.catalog import Catalog
from services.serving.config import ServerConfig, read_config
from services.serving.dataplane import DataPlane
from services.serving.edge.uploads import PATH, EdgeUploads
from services.serving.edge.versions import KnownVersions
from services.serving.exchange import Gate
from services.serving.explain.api import ExplainApi
from services.serving.explain.explainer import Explainer
from services.serving.explain.importances import Importances, plan_of
from services.serving.explain.versions import VersionBook
from services.serving.gateway import Gateway
from services.serving.handlers import listener
from services.serving.measures import DataPlaneCollector, Measures
from services.serving.pool import Pool
from services.serving.pool_metrics import PoolCollector
from services.serving.predict_api import Authorize, PredictApi
from services.serving.predlog import LogBudget
from services.serving.routes import UPLOADS
from services.serving.routing_measures import RoutingCollector
from services.serving.runtime.memory import keep_for_the_next_run
from services.serving.settings import ServingSettings
from services.serving.shadow import Shadows
from services.serving.shipper import Send, Shipper
from services.serving.siblings import ConfigWatch, FirstStart, worker_metrics
from services.serving.status import StatusReporter
from services.serving.v2 import ProtocolV2

GC_THRESHOLDS = (20_000, 20, 20)
"""A request makes some hundred objects and no cycles: Python's default would look for some after every few requests."""


class ServingService(Service):
    """Asks every open connection to close with its next answer once the process is stopping."""

    def __init__(self, settings: ServingSettings) -> None:
        super().__init__("serving", settings)
        self.gate = Gate(
            settings,
            compress_bytes=settings.serving_compress_bytes,
            compress_listed=settings.serving_compress_listed,
        )
        self.gateway = Gateway(settings)
        self.notice_seconds = settings.serving_notice_seconds
        self.linger_seconds = settings.serving_linger_seconds
        self._serving_settings = settings
        if settings.serving_worker is not None:
            own_port = settings.worker_ports[settings.serving_worker]
            self.sharing = Sharing(own_port, join_when_ready=settings.serving_worker_restarts > 0)

        self.first_start = FirstStart(settings, self.gateway)

    def waiting_for(self) -> list[str]:
        """See `Service.waiting_for`; at the first start also the other workers."""
        return self.own_waiting_for() or self.first_start.waiting_for

    def own_waiting_for(self) -> list[str]:
        """Why this process is not ready, whatever the other workers are."""
        return super().waiting_for()

    async def metrics_page(self) -> bytes:
        """See `Service.metrics_page`: those of all workers."""
        return await worker_metrics(self._serving_settings, self.gateway)

    async def start(self) -> None:
        """See `Service.start`. What lives from here on to the end is taken out of the garbage collector's sight: a full
        collection over it would hold the event loop for tens of milliseconds under load."""
        await super().start()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)

    def begin_stop(self) -> None:
        """See `Service.begin_stop`."""
        super().begin_stop()
        self.gate.draining = True
        self.gateway.begin_stop()


class _Logs:
    """The prediction log as a part: adopts orphans at the start, ships the rest at the stop."""

    def __init__(self, settings: ServingSettings, shipper: Shipper) -> None:
        self._settings = settings
        self._shipper = shipper

    async def start(self) -> None:
        """Ship what dead processes left behind."""
        await asyncio.to_thread(self._settings.log_dir.mkdir, parents=True, exist_ok=True)
        self._shipper.adopt(self._settings.adopts)

    async def stop(self) -> None:
        """Ship the rest, for a bounded time."""
        await self._shipper.stop(self._settings.serving_ship_seconds)

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends when a log can't be shipped for an unexpected reason."""
        return self._shipper.task


class _Models:
    """The pool as a part."""

    def __init__(self, pool: Pool, table: TableReader) -> None:
        self._pool = pool
        self._table = table

    async def start(self) -> None:
        """Begin the self-checks. Nothing is loaded before something is wanted."""
        self._pool.start()

    async def stop(self) -> None:
        """Stop loading."""
        await self._pool.stop()

    def ready(self) -> str | None:
        """None once every wanted model answers."""
        return self._pool.waiting_for() if self._table.caught_up.is_set() else None

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends when a model can't be loaded for an unexpected reason."""
        return self._pool.task


def build(settings: ServingSettings) -> Service:
    """Serving's process. Raises `Misconfigured` or `Unavailable` when the artifact store can't be used."""
    keep_for_the_next_run()
    service = ServingService(settings)
    budget = LogBudget(settings.log_bytes, settings.serving_log_policy)
    shipper = Shipper(settings.log_dir, _sender(service.producer), budget)
    catalog = Catalog()
    config = read_config(settings)
    store = open_store(settings)
    pool = Pool(settings, store, catalog, budget, shipper, config)
    cache = open_cache(settings)
    asking = Asking(catalog, budget, cache=cache, shadows=Shadows(settings.serving_shadow_rows))
    asking.configure(config)

    def configure(changed: ServerConfig) -> None:
        """Have a configuration document in force, whoever was sent it."""
        pool.configure(changed)
        asking.configure(changed)

    service.state["configure"] = configure
    service.state |= {"pool": pool, "gateway": service.gateway, "config_file": settings.config_file, "catalog": catalog}
    service.state["broker"] = BrokerProbe(settings)
    explainer = Explainer(settings, store)
    importances = Importances(explainer, store, plan_of(settings))
    versions = VersionBook(service.gateway.fetch, pool.wanted)
    service.state |= {"importances": importances, "versions": versions}
    table = TableReader(settings, "deployments", listener("deployments", pool))
    catalog.known = table.caught_up.is_set
    if cache is not None:
        service.add(cache)
    for part in (
        service.gateway,
        explainer,
        importances,
        _Logs(settings, shipper),
        _Models(pool, table),
        StatusReporter(settings, pool, service.producer),
        ConfigWatch(settings, configure),
        service.first_start,
        table,
    ):
        service.add(part)
    authorize = _authorizer(service)
    explain = ExplainApi(explainer, versions, authorize)
    uploads = EdgeUploads(
        settings,
        authorize,
        KnownVersions(lambda path: service.gateway.fetch("registry", path)),
        lambda model_id: pool.log_policy(model_id) if table.caught_up.is_set() else None,
        pool.tokens,
        _sender(service.producer),
    )
    service.app = DataPlane(
        PredictApi(asking, authorize, settings.serving_string_bytes, explain.beside),
        ProtocolV2(
            asking,
            authorize,
            pool,
            server_name=settings.serving_server_name,
            ready=lambda: not service.waiting_for(),
            open_health=settings.serving_open_health,
            string_bytes=settings.serving_string_bytes,
        ),
        explain.explain,
        service.gate,
        create_api(service, ROUTERS, title="Trimtab", unbounded=UPLOADS, openapi_url=None),
        {PATH: uploads.accept},
    )
    _expose(pool, catalog, budget, shipper)
    REGISTRY.register(RoutingCollector(pool.versions, asking))
    return service


def _sender(producer: Producer) -> Send:
    topic = topic_of(PredictionBatch).name

    async def send(batch: PredictionBatch) -> None:
        content_type, body = encode(batch)
        envelope = Envelope(
            id=new_id(),
            source="trimtab/serving",
            type=batch.TYPE,
            time=datetime.now(UTC),
            subject=batch.key,
            content_type=content_type,
        )
        await producer.send(topic, body, key=batch.key.encode(), headers=to_headers(envelope))

    return send


def _authorizer(service: Service) -> Authorize:
    scopes = {scope.value: scope for scope in Scope}
    if service.settings.auth == "off":

        def anybody(authorization: str | None, scope: str, model_id: str | None) -> None:
            """Keys are off."""

        return anybody

    def authorize(authorization: str | None, scope: str, model_id: str | None) -> None:
        service.access.identify(authorization).demand(scopes[scope], model_id)

    return authorize


def _expose(pool: Pool, catalog: Catalog, budget: LogBudget, shipper: Shipper) -> None:
    def versions() -> Iterable[tuple[Measures, int, int | None]]:
        return [(v.measures, v.batcher.queued_rows, v.memory_bytes) for v in pool.versions()]

    def gauges() -> Iterable[tuple[str, str, float]]:
        return [
            ("ml_models_in_memory", "Models that answer from memory", len(catalog.models)),
            ("ml_prediction_log_bytes", "Disk that unshipped predictions take", budget.used_bytes),
            ("ml_prediction_log_limit_bytes", "Disk that they may take", budget.limit_bytes),
            ("ml_prediction_log_shed_rows", "Predictions answered without being logged", budget.shed_rows),
            ("ml_prediction_log_sampled_out_rows", "Predictions left out by a log's sample", budget.sampled_out_rows),
            ("ml_prediction_log_refused_requests", "Requests refused because the log is full", budget.refused_requests),
            ("ml_prediction_log_shipped_rows", "Predictions that Kafka has acknowledged", shipper.shipped_rows),
        ]

    REGISTRY.register(DataPlaneCollector(versions, gauges))
    REGISTRY.register(PoolCollector(pool.facts))
