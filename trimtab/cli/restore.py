"""`trimtab restore`: a saved installation back into an empty one."""

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.backup import DataDir, Folder, draw, local, one_sentence, shower
from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, single
from trimtab.cli.output import show

if TYPE_CHECKING:
    from rich.console import Console

app = single()


@app.command()
def restore(
    folder: Folder,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    without_kafka: Annotated[
        bool, typer.Option("--without-kafka", help="Don't ask Kafka: its topics are new, or will be.")
    ] = False,
    renew_topics: Annotated[
        bool,
        typer.Option(
            "--renew-topics",
            help="Delete the topics that hold later events than the backup and make them anew; what the backup knows"
            " of them is published again.",
        ),
    ] = False,
    artifacts_only: Annotated[
        bool,
        typer.Option(
            "--artifacts-only",
            help="Repair the store of an installation that is there, running or not: put back exactly the artifacts"
            " that it has lost or damaged. Databases and Kafka stay as they are.",
        ),
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring the backup in DIR back into an empty installation that does not run; then start it.

    The databases may be of the other kind than those that were saved (SQLite, PostgreSQL), and so may the store
    (folder, S3). The backup is read and checked whole before anything is written.

    With --artifacts-only every artifact that a row names is read and compared with its digest; exit status 1 if the
    backup does not hold one of those that are lost either.
    """
    from trimtab.backup import repairing, restoring

    if artifacts_only and (renew_topics or without_kafka):
        raise typer.BadParameter("--artifacts-only asks Kafka nothing: leave out --renew-topics and --without-kafka")
    settings, shown = local(data_dir, kafka), shower("restore")
    with one_sentence():
        if artifacts_only:
            report = repairing.repair(settings, folder, shown)
        else:
            report = restoring.restore(settings, folder, shown, without_kafka=without_kafka, renew_topics=renew_topics)

    def told(console: "Console") -> None:
        draw(console, report)
        if not artifacts_only:
            console.print("now start it: `trimtab up`")

    show(report.document(), as_json, told)
    if artifacts_only and not report.is_well:
        raise typer.Exit(1)
