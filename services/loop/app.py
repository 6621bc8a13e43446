"""Composition root of the loop."""

from services.kernel.bus.consume import ConsumeLoop
from services.kernel.http.api import create_api
from services.kernel.service import BackgroundTask, Service
from services.loop.api import router
from services.loop.driver import Driver
from services.loop.handlers import handlers
from services.loop.peers import Peers
from services.loop.settings import LoopSettings


def build(settings: LoopSettings) -> Service:
    """The service; nothing is connected yet."""
    service = Service("loop", settings, migrations="services.loop.migrations")
    peers = Peers(settings)
    driver = Driver(settings, service.work, peers)
    service.add(peers)
    service.add(ConsumeLoop(settings, "loop", handlers(settings), work=service.work, producer=service.producer))
    service.add(BackgroundTask("loop-driver", driver.run))
    service.app = create_api(service, [router], title="Trimtab loop")
    return service
