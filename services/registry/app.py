"""The registry, put together."""

import asyncio
import shutil
from datetime import timedelta

from services.kernel.bus.consume import ConsumeLoop
from services.kernel.bus.probe import broker_answers
from services.kernel.bus.table_reader import TableReader
from services.kernel.http.api import create_api
from services.kernel.service import BackgroundTask, Service
from services.kernel.storage import open_store
from services.registry.api import ROUTERS, UNBOUNDED
from services.registry.api.parts import Parts
from services.registry.arrivals.room import Room
from services.registry.arrivals.uploads import Uploads
from services.registry.handlers import HANDLERS
from services.registry.keeping.collector import Collector
from services.registry.keeping.report import Graces
from services.registry.quantization.quantizer import QuantizationLimits, Quantizer
from services.registry.registrar import Registrar
from services.registry.replicas import Replicas
from services.registry.settings import RegistrySettings
from services.registry.untrusted.inspection import Limits
from services.registry.untrusted.inspections import Inspector

GROUP = "registry"


class _Staging:
    """The folder of uploads in progress: what a killed process left in it is removed at the start."""

    def __init__(self, settings: RegistrySettings) -> None:
        self._path = settings.staging_dir

    async def start(self) -> None:
        """Empty it."""
        await asyncio.to_thread(shutil.rmtree, self._path, ignore_errors=True)
        await asyncio.to_thread(self._path.mkdir, parents=True, exist_ok=True)

    async def stop(self) -> None:
        """Nothing is left to do."""


def build(settings: RegistrySettings) -> Service:
    """The registry's process. Raises `Misconfigured` or `Unavailable` when the artifact store can't be used."""
    service = Service("registry", settings, migrations="services.registry.migrations")
    store = open_store(settings)
    replicas = Replicas(timedelta(seconds=settings.registry_replica_silence_seconds))
    limits = Limits(settings.registry_inspection_memory_bytes, settings.registry_inspection_seconds)
    inspector = Inspector(service.db, limits, settings.registry_inspections_at_once)
    registrar = Registrar(service.db, service.work, store, settings.staging_dir, inspector)
    uploads = Uploads(settings, store)
    room = Room(settings.registry_staging_bytes)
    quantizer = Quantizer(
        service.db,
        store,
        settings.staging_dir,
        room,
        QuantizationLimits(settings.registry_quantization_memory_bytes, settings.registry_quantization_seconds),
    )
    service.state["parts"] = Parts(
        settings,
        service.db,
        service.work,
        store,
        replicas,
        inspector,
        uploads.blobs,
        uploads.direct,
        room,
        quantizer,
    )
    service.add(_Staging(settings))
    service.add(inspector)
    service.add(quantizer)
    service.add(TableReader(settings, "deployment-status", replicas.on_message))
    service.add(BackgroundTask("registrar", registrar.run))
    service.add(BackgroundTask("uploads", uploads.run))
    consume = ConsumeLoop(settings, GROUP, HANDLERS, work=service.work, producer=service.producer)
    service.add(consume)

    async def waits_for() -> str | None:
        answers = await broker_answers(settings)
        return consume.ready() if answers else f"no broker answers at {settings.kafka_bootstrap}"

    graces = Graces(
        settings.registry_grace_seconds,
        settings.registry_unregistered_days * 86_400,
        settings.registry_upload_hours * 3600,
    )
    collector = Collector(service.work, store, graces, settings.registry_collection_seconds, waits_for)
    service.state["collector"] = collector
    service.state["verifications"] = asyncio.Semaphore(settings.registry_verifications_at_once)
    service.add(BackgroundTask("collector", collector.run))
    service.app = create_api(service, ROUTERS, title="Trimtab registry", unbounded=UNBOUNDED)
    return service
