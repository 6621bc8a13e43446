"""The chain of events that led to a version, read from Kafka.

What belongs to it is found by following causation and correlation ids, jobs and cycles, from the version's events to
everything that came before it, and to what its rollout brought after.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.kernel.bus.tail import read_to_end
from services.kernel.errors import NotFound, Undecodable
from services.kernel.settings import Settings

TOPICS = ("training-requests", "training-events", "model-events", "deployments", "drift-signals", "loop-events")
TOLD = ("explanation", "comment", "reason", "detail", "step", "state", "to_stage")
QUIET = ("trimtab.job.progress.v1",)
"""Types that are steps of something else, left out of a chain."""


@dataclass(frozen=True)
class Link:
    """One event of a chain. `address` is `topic/partition/offset`."""

    id: str
    type: str
    time: datetime
    address: str
    causation_id: str | None
    correlation_id: str | None
    body: dict[str, Any] = field(repr=False)

    @property
    def versions(self) -> set[str]:
        """Every version that the event names."""
        routes = [route.get("version") for route in self.body.get("routes", ())]
        named = (self.body.get("version"), self.body.get("challenger_version"), *routes)
        return {version for version in named if version}

    @property
    def is_signal(self) -> bool:
        """Whether the monitor signals something about a version."""
        return self.address.startswith("drift-signals/")

    def names(self, kind: str) -> str | None:
        """The `job_id` or `cycle_id` of the event."""
        value = self.body.get(kind)
        return str(value) if value else None

    def to_json(self) -> dict[str, Any]:
        """The link as `trimtab why --json` prints it."""
        told = {name: self.body[name] for name in TOLD if self.body.get(name)}
        return {
            "time": self.time.isoformat(),
            "type": self.type,
            "id": self.id,
            "causation_id": self.causation_id,
            "correlation_id": self.correlation_id,
            "at": self.address,
            "versions": sorted(self.versions),
            **told,
        }


async def read_links(settings: Settings, model_id: str) -> list[Link]:
    """Every event about `model_id` that the topics still hold, in order of time. Raises `Unavailable`."""
    found: list[Link] = []
    jobs: set[str] = set()
    for topic in TOPICS:
        async for link in _links(settings, topic):
            about = link.body.get("model_id") or _model_of(link.body.get("job"))
            job_id = link.names("job_id")
            if about == model_id or (about is None and job_id in jobs):
                found.append(link)
                jobs |= {job_id} if job_id else set()
    return sorted(found, key=lambda link: link.time)


def _model_of(job: Any) -> str | None:
    if not isinstance(job, dict):
        return None
    return job.get("model_id") or job.get("model_type")


async def _links(settings: Settings, topic: str) -> AsyncIterator[Link]:
    async for record in read_to_end(settings, topic):
        try:
            envelope, message = record.message()
        except Undecodable:
            continue
        yield Link(
            id=envelope.id,
            type=envelope.type,
            time=envelope.time,
            address=f"{record.topic}/{record.partition}/{record.offset}",
            causation_id=envelope.causation_id,
            correlation_id=envelope.correlation_id,
            body=message.model_dump(mode="json", exclude_none=True),
        )


def chain_of(links: list[Link], version: str) -> list[Link]:
    """The events that led to `version` and what was decided about it, in order of time. Raises `NotFound`.

    A signal of the monitor belongs to it as a cause only; what was signalled about the version itself came later.
    """
    registered = [link for link in links if link.body.get("version") == version and "registered" in link.type]
    if not registered:
        raise NotFound(f"the topics hold no registration of version {version}")
    by_id = {link.id: link for link in links}
    cycles = {cycle for link in registered if (cycle := link.names("cycle_id"))}
    jobs = {job for link in registered if (job := link.names("job_id"))}
    chosen: dict[str, Link] = {}
    waiting = [
        link
        for link in links
        if (version in link.versions and not link.is_signal)
        or link.names("cycle_id") in cycles
        or link.names("job_id") in jobs
    ]
    while waiting:
        link = waiting.pop()
        if link.id in chosen or link.type in QUIET:
            continue
        chosen[link.id] = link
        cause = by_id.get(link.causation_id or "")
        if cause is not None:
            waiting.append(cause)
    return sorted(chosen.values(), key=lambda link: link.time)
