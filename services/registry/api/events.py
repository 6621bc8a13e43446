"""The route that tells events again; for administrators."""

import asyncio
from typing import Literal

from fastapi import APIRouter
from pydantic import Field

from schemas.base import Document, Name, StrictDocument, UtcTime
from services.kernel.bus.replay import Replayed
from services.kernel.http.api import EveryModelAdmin
from services.registry.api.parts import PartsOf, time_of
from services.registry.event_log import Wanted, tell_again

router = APIRouter(prefix="/mlops/events", tags=["events"])


class ReplayWanted(StrictDocument):
    """Which events to tell again; empty: every one that the registry ever published."""

    topic: Literal["model-events", "deployments", "access"] | None = Field(
        default=None, description="Of this topic only; none: of all three."
    )
    model_id: Name | None = Field(default=None, description="Of this model only.")
    since: UtcTime | None = Field(default=None, description="Published at this time or later.")
    dry_run: bool = Field(default=False, description="Only say which they are.")


class EventsReplayed(Document):
    """Events of one type."""

    topic: str
    type: str
    events: int
    first_at: UtcTime
    last_at: UtcTime


class ReplayDocument(Document):
    """What is told again, or with `dry_run` would be."""

    dry_run: bool
    events: int
    replayed: tuple[EventsReplayed, ...]

    @classmethod
    def of(cls, found: list[Replayed], dry_run: bool) -> "ReplayDocument":
        """The document of an outcome."""
        replayed = tuple(
            EventsReplayed(
                topic=some.topic,
                type=some.type,
                events=some.events,
                first_at=time_of(some.first),
                last_at=time_of(some.last),
            )
            for some in found
        )
        return cls(dry_run=dry_run, events=sum(some.events for some in found), replayed=replayed)


@router.post("/replay", summary="Tell events again", status_code=202)
async def replay_events(wanted: ReplayWanted, parts: PartsOf, principal: EveryModelAdmin) -> ReplayDocument:
    """Every event keeps its id and its revision: consumers that know it ignore it, a new topic or consumer gets it.

    Of `deployments` and `access`, which are compacted, it is the newest event of each key.
    """
    chosen = Wanted(wanted.topic, wanted.model_id, wanted.since)
    found = await asyncio.to_thread(
        tell_again, parts.db, parts.work, chosen, actor=principal.name, dry_run=wanted.dry_run
    )
    return ReplayDocument.of(found, wanted.dry_run)
