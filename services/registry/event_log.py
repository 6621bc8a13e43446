"""The registry's outbox as the log of all it ever said: its topics can be told again, whole or in part."""

from dataclasses import dataclass
from datetime import datetime
from functools import partial

from schemas.topics import BY_NAME, TOPICS
from services.kernel.bus import replay
from services.kernel.bus.replay import Replayed, Selection
from services.kernel.db import Database
from services.kernel.errors import InvalidInput
from services.kernel.settings import Settings
from services.kernel.uow import UnitOfWork, Work
from services.registry import audit
from services.registry.keys import opened

LOG_TOPICS = tuple(topic.name for topic in TOPICS if topic.kept_for_ever and topic.producers == "registry")
"""The topics that the registry writes and that are kept for ever."""
MICROSECOND = 1e-6
"""What a time in a document may have been rounded up by."""
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
        since = self.since.timestamp() - MICROSECOND if self.since is not None else None
        return Selection((self.topic,) if self.topic is not None else topics, self.model_id, since)


def tell_again(db: Database, work: Work, wanted: Wanted, *, actor: str, dry_run: bool = False) -> list[Replayed]:
    """Send the wanted events again, each with the id and the revision it had; what they are. With `dry_run` only that.

    Consumers that know them ignore them. Of a compacted topic it is the newest event of each key. Blocking: looking
    them up and marking them takes a while for very many; other writes go between. Raises `InvalidInput`.
    """
    selection = wanted.selection()
    plan = db.read_now(lambda connection: replay.plan(connection, selection))
    if not plan.portions or dry_run:
        return plan.replayed
    since = wanted.since.isoformat() if wanted.since is not None else None
    events = sum(some.events for some in plan.replayed)
    facts = {"topics": list(selection.topics), "model_id": wanted.model_id, "since": since, "events": events}

    def note(uow: UnitOfWork) -> None:
        audit.record(uow, actor, "events.replayed", wanted.model_id or "", **facts)

    db.write_now(lambda connection: work.within(connection, note))
    for portion in plan.portions:
        db.write_now(partial(replay.mark_portion, portion=portion))
        if work.relay is not None:
            work.relay.wake()
    return plan.replayed


def tell_again_directly(settings: Settings, wanted: Wanted, *, dry_run: bool = False) -> list[Replayed]:
    """`tell_again` in the registry's database itself: for a new Kafka, in which no process knows a key. Blocking.

    The registry need not run; once it does, its relay sends them.
    """
    with opened(settings) as database:
        work = Work(database, "registry")
        return tell_again(database, work, wanted, actor="command line", dry_run=dry_run)
