"""The registry's outbox as the log of all it ever said: its topics can be told again, whole or in part."""

from dataclasses import dataclass
from datetime import datetime

from schemas.topics import BY_NAME, TOPICS
from services.kernel.bus import replay
from services.kernel.bus.replay import Replayed, Selection
from services.kernel.errors import InvalidInput
from services.kernel.settings import Settings
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.keys import directly

LOG_TOPICS = tuple(topic.name for topic in TOPICS if topic.kept_for_ever and topic.producers == "registry")
"""The topics that the registry writes and that are kept for ever."""
OF_MODELS = tuple(name for name in LOG_TOPICS if BY_NAME[name].key == "model_id")


@dataclass(frozen=True)
class Wanted:
    """What to tell again: of `topic` (none: all of them), of one model, not older than `since`."""

    topic: str | None = None
    model_id: str | None = None
    since: datetime | None = None

    def selection(self) -> Selection:
        """The rows that this means. Raises `InvalidInput` for a topic that is not the registry's, or has no models."""
        topics = LOG_TOPICS if self.model_id is None else OF_MODELS
        if self.topic is not None and self.topic not in topics:
            raise InvalidInput(
                f"topic: {self.topic!r} can't be told again{' for one model' if self.model_id else ''}; "
                f"name one of {', '.join(topics)}"
            )
        since = self.since.timestamp() if self.since is not None else None
        return Selection((self.topic,) if self.topic is not None else topics, self.model_id, since)


def tell_again(uow: UnitOfWork, wanted: Wanted, *, actor: str, dry_run: bool = False) -> list[Replayed]:
    """Send the wanted events again, each with the id and the revision it had; what they are. With `dry_run` only that.

    Consumers that know them ignore them. Of a compacted topic it is the newest event of each key. The rest of the
    registry's events waits until these are sent. Raises `InvalidInput`.
    """
    selection = wanted.selection()
    found = replay.count(uow.connection, selection)
    if found and not dry_run:
        replay.mark(uow.connection, selection)
        events = sum(some.events for some in found)
        since = wanted.since.isoformat() if wanted.since is not None else None
        facts = {"topics": list(selection.topics), "model_id": wanted.model_id, "since": since, "events": events}
        audit.record(uow, actor, "events.replayed", wanted.model_id or "", **facts)
    return found


def tell_again_directly(settings: Settings, wanted: Wanted, *, dry_run: bool = False) -> list[Replayed]:
    """`tell_again` in the registry's database itself: for a new Kafka, in which no process knows a key. Blocking.

    The registry need not run; once it does, its relay sends them.
    """
    return directly(settings, lambda uow: tell_again(uow, wanted, actor="command line", dry_run=dry_run))
