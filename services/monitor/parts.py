"""What the monitor's routes and clock reach."""

import asyncio
import time
from dataclasses import dataclass

import psutil

from services.kernel.db import Database
from services.kernel.errors import Unavailable
from services.kernel.storage.store import ArtifactStore
from services.kernel.telemetry import get_logger
from services.monitor import metrics, retention
from services.monitor.labels import LabelJoin
from services.monitor.settings import MonitorSettings
from services.monitor.spool import Spool
from services.monitor.stream import PredictionStream
from services.monitor.watched import Watchlist

log = get_logger(__name__)

TICK_SECONDS = 1.0
PLANS_SECONDS = 5.0
PRUNE_SECONDS = 60.0


@dataclass
class Parts:
    """The monitor's parts, as `app.build` made them."""

    settings: MonitorSettings
    db: Database
    store: ArtifactStore
    watchlist: Watchlist
    spool: Spool
    stream: PredictionStream
    join: LabelJoin

    async def tick_for_ever(self) -> None:
        """Close windows on time, refresh plans, measure the system, forget what is old."""
        plans_at = measured_at = 0.0
        pruned_at = time.monotonic()
        process = psutil.Process()
        while True:
            now = time.monotonic()
            if now - plans_at >= PLANS_SECONDS:
                self.watchlist.forget_plans()
                plans_at = now
            if now - measured_at >= self.settings.monitor_collect_seconds:
                metrics.CPU.set(psutil.cpu_percent())
                metrics.MEMORY.set(psutil.virtual_memory().used)
                metrics.PROCESS_CPU.set(process.cpu_percent())
                measured_at = now
            await self.stream.close_due_windows()
            if now - pruned_at >= PRUNE_SECONDS:
                await self._prune()
                pruned_at = now
            await asyncio.sleep(TICK_SECONDS)

    async def _prune(self) -> None:
        settings = self.settings
        try:
            await asyncio.to_thread(
                retention.prune_spool,
                self.db,
                self.spool,
                most_bytes=settings.monitor_spool_bytes,
                days=settings.monitor_spool_days,
            )
            await asyncio.to_thread(
                retention.prune_tables,
                self.db,
                history_windows=settings.monitor_history_windows,
                days=settings.monitor_spool_days,
            )
        except Unavailable as error:
            log.warning("not_pruned", error=error.detail)
