"""What the serving replicas say that they really serve, from the compacted topic `deployment-status`."""

from datetime import datetime, timedelta
from enum import StrEnum

from schemas.base import Document, Message, UtcTime
from schemas.envelope import Envelope
from schemas.events import DeploymentWanted, LoadedVersion, ReplicaStatus


class ReplicaState(StrEnum):
    """How a replica stands to a deployment."""

    CONVERGED = "converged"
    BEHIND = "behind"
    FAILED = "failed"
    SILENT = "silent"


class ReplicaView(Document):
    """One replica, seen from one deployment: `revision` is the one it has converged to, `versions` those of the
    model.
    """

    replica: str
    url: str
    state: ReplicaState
    revision: int | None
    at: UtcTime
    versions: tuple[LoadedVersion, ...]


class Replicas:
    """The newest status of every replica. Fed and read on the event loop."""

    def __init__(self, silence: timedelta) -> None:
        self._silence = silence
        self._statuses: dict[str, ReplicaStatus] = {}

    def on_message(self, key: str, message: Message | None, _: Envelope | None) -> None:
        """Take one record of the topic; a replica that has stopped, or a tombstone, is forgotten."""
        if isinstance(message, ReplicaStatus) and not message.stopped:
            self._statuses[key] = message
        else:
            self._statuses.pop(key, None)

    def of(self, wanted: DeploymentWanted, now: datetime) -> list[ReplicaView]:
        """Every known replica's state towards `wanted`, by name."""
        return [self._view(self._statuses[name], wanted, now) for name in sorted(self._statuses)]

    def _view(self, status: ReplicaStatus, wanted: DeploymentWanted, now: datetime) -> ReplicaView:
        mine = tuple(version for version in status.versions if version.model_id == wanted.model_id)
        revision = status.converged.get(wanted.model_id)
        named = {route.version for route in wanted.routes}
        if now - status.at > self._silence:
            state = ReplicaState.SILENT
        elif revision is not None and revision >= wanted.revision:
            state = ReplicaState.CONVERGED
        elif any(version.state == "failed" and version.version in named for version in mine):
            state = ReplicaState.FAILED
        else:
            state = ReplicaState.BEHIND
        return ReplicaView(
            replica=status.replica, url=status.url, state=state, revision=revision, at=status.at, versions=mine
        )
