"""Events told again."""

from datetime import datetime

from trimtab.calls import given, post
from trimtab.surfaces.sender import Answer, Sender


class Events(Sender[Answer]):
    """The registry's log of events."""

    def replay_events(
        self,
        topic: str | None = None,
        *,
        model_id: str | None = None,
        since: datetime | None = None,
        dry_run: bool = False,
    ) -> Answer:
        """Publish what the registry published before once more: of `topic` (`model-events`, `deployments` or
        `access`; all by default), of one model, since a time (UTC).

        Consumers that know an event ignore it. With `dry_run` the answer only says what would be sent.
        """
        time = since.isoformat() if since is not None else None
        return self.send(
            post("/mlops/events/replay", given(topic=topic, model_id=model_id, since=time, dry_run=dry_run))
        )
