"""`trimtab backup`: the whole installation into a folder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, checked, single
from trimtab.cli.output import facts, show, table

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.backup.databases import Tell
    from trimtab.backup.report import Report
    from trimtab.local.settings import LocalSettings

app = single()

Folder = Annotated[Path, typer.Argument(help="The folder of the backup.", metavar="DIR")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of the installation's state; default .trimtab.")]
WithoutKafka = Annotated[bool, typer.Option("--without-kafka", help="Leave out the consumers' offsets.")]


@app.command()
def backup(
    folder: Folder,
    check: Annotated[
        bool, typer.Option("--check", help="Make none: read the one that is there and compare every digest.")
    ] = False,
    data_dir: DataDir = None,
    kafka: Kafka = None,
    without_kafka: WithoutKafka = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Save databases, artifacts and offsets in DIR, while the installation runs.

    Another backup into the same folder copies only the artifacts that are new, and replaces the one before as a whole.
    Exit status 1 if the store has lost or damaged bytes; everything else is saved then, and what DIR already held of
    them stays.
    """
    from trimtab.backup import saving

    with one_sentence():
        if check:
            report = saving.check(folder, shower("check"))
        else:
            report = saving.back_up(local(data_dir, kafka), folder, shower("backup"), without_kafka=without_kafka)
    show(report.document(), as_json, lambda console: draw(console, report))
    if not report.is_well:
        raise typer.Exit(1)


def local(data_dir: Path | None, kafka: str | None) -> "LocalSettings":
    """The settings of the environment, with these instead."""
    from trimtab.local.settings import LocalSettings

    return checked(LocalSettings, {"data_dir": data_dir, "kafka_bootstrap": kafka})


def shower(event: str) -> Any:
    """`(what, unit)` -> a context that shows how far the work is."""
    from trimtab.local.progress import work_progress

    @contextmanager
    def showing(what: str, unit: str) -> "Iterator[Tell]":
        with work_progress(event, what, unit) as tell:
            yield tell

    return showing


@contextmanager
def one_sentence() -> Iterator[None]:
    """A file that can't be read or written is one sentence."""
    from trimtab.backup.errors import BackupError

    try:
        yield
    except OSError as error:
        raise BackupError(
            f"{error.filename or 'the folder'} can't be used ({error.strerror or error}): make room, or name another"
            " folder"
        ) from error


def draw(console: "Console", report: "Report") -> None:
    """A report for a person."""
    document = report.document()
    rows = [
        (
            part["what"],
            f"{part['count']:,} {part['unit']}",
            f"{part['bytes']:,}",
            f"{part['new']:,} new" if "new" in part else "",
        )
        for part in document["parts"]
    ]
    table(console, ("what", "how much", "bytes", ""), rows)
    facts(
        console,
        [
            ("made at", document["made_at"]),
            ("seconds", {what: round(seconds, 1) for what, seconds in report.seconds.items()}),
            ("not yet handled", document.get("records_not_yet_handled")),
            ("events told again", document.get("events_told_again")),
            ("notes", document["notes"]),
        ],
    )
