"""`trimtab events`: what the registry said, once more."""

from datetime import datetime
from typing import Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, group, settings, time_of
from trimtab.cli.output import show, table, when

app = group("Tell the registry's events again.")


@app.callback()
def events() -> None:
    """Tell the registry's events again."""


@app.command("replay")
def replay(
    topic: Annotated[
        str | None, typer.Option(help="model-events, deployments or access; all three by default.", metavar="TOPIC")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Of this model only.", metavar="ID")] = None,
    since: Annotated[
        str | None, typer.Option(help="Published at this time or later: 2026-01-31T12:00:00Z.", metavar="TIME")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be sent.")] = False,
    directly: Annotated[
        bool,
        typer.Option(
            "--directly",
            help="In the registry's database itself: for a new Kafka, in which no process knows a key any more.",
        ),
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Publish the registry's events once more, each with the id and the revision it had.

    A consumer that knows an event ignores it; a new topic or a new consumer gets everything. Of the compacted topics
    deployments and access the newest event of each key is sent.
    """
    begin = time_of("--since", since) if since is not None else None
    if directly:
        document = _directly(topic, model, begin, dry_run)
    else:
        with connected(url, api_key, timeout_seconds=300.0) as client:
            document = client.replay_events(topic, model_id=model, since=begin, dry_run=dry_run)
    rows = [
        (some["topic"], some["type"], some["events"], when(some["first_at"]), when(some["last_at"]))
        for some in document["replayed"]
    ]
    headings = ("topic", "type", "would be sent" if dry_run else "sent again", "first", "last")
    show(document, as_json, lambda console: table(console, headings, rows, empty="no such events"))


def _directly(topic: str | None, model: str | None, since: datetime | None, dry_run: bool) -> dict[str, Any]:
    from services.registry.api.events import ReplayDocument
    from services.registry.event_log import Wanted, tell_again_directly

    found = tell_again_directly(settings(), Wanted(topic, model, since), dry_run=dry_run)
    document: dict[str, Any] = ReplayDocument.of(found, dry_run).model_dump(mode="json")
    return document
