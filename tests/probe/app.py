"""Composition root of the probe."""

import sqlalchemy as sa

from schemas.base import Message
from schemas.events import Alert, LabelsObserved
from services.kernel.bus.consume import ConsumeLoop
from services.kernel.bus.inbox import Handler
from services.kernel.errors import InvalidInput, Unavailable
from services.kernel.http.api import create_api
from services.kernel.service import Service
from services.kernel.settings import Settings
from services.kernel.uow import UnitOfWork

effects = sa.table("effects", sa.column("seq"), sa.column("prediction_id"))
ADD = sa.insert(effects).values(prediction_id=sa.bindparam("id"))


class ProbeSettings(Settings):
    """The probe listens where the registry would."""

    probe_port: int = 0


def count(message: LabelsObserved, uow: UnitOfWork) -> None:
    """One row and one alert a label; two special ids fail, for good or for now."""
    for label in message.labels:
        if label.prediction_id == "poison":
            raise InvalidInput("a poison label")
        if label.prediction_id == "not-yet":
            raise Unavailable("not yet")
        uow.connection.execute(ADD, {"id": label.prediction_id})
        uow.publish(
            Alert(
                alert_id=label.prediction_id,
                model_id=message.model_id,
                state="raised",
                severity="info",
                title="label",
                detail="seen",
            )
        )


HANDLERS: dict[type[Message], Handler] = {LabelsObserved: count}


def build(settings: ProbeSettings) -> Service:
    """The service; nothing is connected yet."""
    service = Service("probe", settings, migrations="tests.probe.migrations")
    service.add(ConsumeLoop(settings, "probe", HANDLERS, work=service.work, producer=service.producer))
    service.app = create_api(service, [], title="Probe")
    return service
