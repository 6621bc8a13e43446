"""What reaches serving through Kafka. It has no database, hence no unit of work: the wanted state is rebuilt from the
compacted topic `deployments` at every start."""

from collections.abc import Callable

from schemas.base import Message
from schemas.envelope import Envelope
from schemas.events import DeploymentWanted
from services.serving.pool import Pool

Handler = Callable[[str, Message | None, Pool], None]


def deployment_wanted(model_id: str, message: Message | None, pool: Pool) -> None:
    """The newest wanted state of one model; None is the tombstone of a model that is gone."""
    pool.want(model_id, message if isinstance(message, DeploymentWanted) else None)


HANDLERS: dict[str, Handler] = {"deployments": deployment_wanted}
"""Compacted topic -> handler."""


def listener(topic: str, pool: Pool) -> Callable[[str, Message | None, Envelope | None], None]:
    """The handler of `topic`, as `services.kernel.bus.table_reader` calls it."""
    handler = HANDLERS[topic]

    def on_message(key: str, message: Message | None, envelope: Envelope | None) -> None:
        handler(key, message, pool)

    return on_message
