"""`trimtab restore`: a saved installation back into an empty one."""

from typing import Annotated

import typer

from trimtab.cli.backup import DataDir, Folder, draw, local, one_sentence, shower
from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, single
from trimtab.cli.output import show

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
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Bring the backup in DIR back into an empty installation that does not run; then start it.

    The databases may be of the other kind than those that were saved (SQLite, PostgreSQL), and so may the store
    (folder, S3). The backup is read and checked whole before anything is written.
    """
    from trimtab.backup import restoring

    with one_sentence():
        report = restoring.restore(
            local(data_dir, kafka), folder, shower("restore"), without_kafka=without_kafka, renew_topics=renew_topics
        )
    show(report.document(), as_json, lambda console: draw(console, report))
