"""Composition root of the tuner."""

from services.kernel.bus.consume import ConsumeLoop
from services.kernel.http.api import create_api
from services.kernel.service import Service
from services.tuner.api import router
from services.tuner.handlers import HANDLERS
from services.tuner.settings import TunerSettings


def build(settings: TunerSettings | None = None) -> Service:
    """The tuner's service, nothing connected yet."""
    settings = settings or TunerSettings()
    service = Service("tuner", settings, migrations="services.tuner.migrations")
    service.add(ConsumeLoop(settings, "tuner", HANDLERS, work=service.work, producer=service.producer))
    service.app = create_api(service, [router], title="Trimtab tuner")
    return service
