"""Composition root of the trainer."""

import platform
import uuid

from services.kernel.bus.consume import ConsumeLoop
from services.kernel.http.api import create_api
from services.kernel.service import Service
from services.kernel.storage import open_store
from services.trainer.api import router
from services.trainer.dispatcher import Dispatcher
from services.trainer.executors.local import LocalExecutor
from services.trainer.handlers import HANDLERS
from services.trainer.settings import TrainerSettings


def build(settings: TrainerSettings | None = None) -> Service:
    """The trainer's service, nothing connected yet."""
    settings = settings or TrainerSettings()
    service = Service("trainer", settings, migrations="services.trainer.migrations")
    worker = f"{platform.node() or 'trainer'}-{uuid.uuid4().hex[:8]}"
    dispatcher = Dispatcher(settings, service.work, lambda: open_store(settings), LocalExecutor(settings), worker)
    service.state["dispatcher"] = dispatcher
    service.add(dispatcher)
    service.add(ConsumeLoop(settings, "trainer", HANDLERS, work=service.work, producer=service.producer))
    service.app = create_api(service, [router], title="Trimtab trainer")
    return service
