"""The monitor's composition root."""

from services.kernel.bus.consume import ConsumeLoop
from services.kernel.http.api import create_api
from services.kernel.service import BackgroundTask, Service
from services.kernel.storage import open_store
from services.monitor.api import router
from services.monitor.handlers import handlers
from services.monitor.instance import SingleInstance
from services.monitor.labels import LabelJoin
from services.monitor.parts import Parts
from services.monitor.settings import MonitorSettings
from services.monitor.spool import Spool
from services.monitor.stream import PredictionStream
from services.monitor.watched import Watchlist

GROUP = "monitor"


def build(settings: MonitorSettings) -> Service:
    """Wire the monitor. Nothing is connected until the service starts, but for the artifact store's check."""
    service = Service("monitor", settings, migrations="services.monitor.migrations")
    store = open_store(settings)
    watchlist = Watchlist(
        service.db, store, cached=settings.monitor_cached_versions, window_rows=settings.monitor_window_rows
    )
    spool = Spool(settings.data_dir / "monitor-spool", settings.monitor_segment_bytes)
    join = LabelJoin(service.work, watchlist, spool, window_rows=settings.monitor_labelled_rows)
    stream = PredictionStream(settings, service.work, service.producer, watchlist, spool, join.wake)
    parts = Parts(settings, service.db, store, watchlist, spool, stream, join)
    service.state["parts"] = parts
    if service.db.is_sqlite:
        service.add(SingleInstance(settings.data_dir / "monitor.lock"))
    service.add(ConsumeLoop(settings, GROUP, handlers(join.wake), work=service.work, producer=service.producer))
    service.add(stream)
    service.add(BackgroundTask("label-join", join.run))
    service.add(BackgroundTask("clock", parts.tick_for_ever))
    service.app = create_api(service, [router], title="Trimtab monitor")
    return service
