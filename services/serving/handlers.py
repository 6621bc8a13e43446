"""What reaches serving through Kafka. It has no database, hence no unit of work: the wanted state is rebuilt from the
compacted topic `deployments` at every start."""

from collections.abc import Callable

from schemas.base import Message
from schemas.envelope import Envelope
from schemas.events import DeploymentWanted
from services.kernel.telemetry import get_logger
from services.serving.pool import Pool

log = get_logger(__name__)

Handler = Callable[[str, Message | None, Pool], None]


def deployment_wanted(model_id: str, message: Message | None, pool: Pool) -> None:
    """The newest wanted state of one model; None is the tombstone of a model that is gone. Anything else is passed
    over: what answers goes on."""
    if message is None:
        pool.want(model_id, None)
    elif isinstance(message, DeploymentWanted) and message.model_id == model_id:
        pool.want(model_id, message)
    else:
        log.error("no_deployment_of_the_model", model_id=model_id, type=message.TYPE)


HANDLERS: dict[str, Handler] = {"deployments": deployment_wanted}
"""Compacted topic -> handler."""


def listener(topic: str, pool: Pool) -> Callable[[str, Message | None, Envelope | None], None]:
    """The handler of `topic`, as `services.kernel.bus.table_reader` calls it."""
    handler = HANDLERS[topic]

    def on_message(key: str, message: Message | None, envelope: Envelope | None) -> None:
        handler(key, message, pool)

    return on_message
