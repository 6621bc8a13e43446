"""`trimtab fetch-broker`: the embedded broker's jars into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, checked, single
from trimtab.cli.output import show

app = single()


@app.command()
def fetch_broker(
    folder: Annotated[Path, typer.Argument(help="Where to put the jars.", metavar="DIR")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Download and verify Apache Kafka's jars; copied to the other machine's cache, `up --offline` works there."""
    from trimtab.local.broker_jars import ensure_jars, jar_cache, pinned_jars
    from trimtab.local.errors import LocalError
    from trimtab.local.progress import download_progress
    from trimtab.local.settings import LocalSettings

    settings = checked(LocalSettings, {})
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with download_progress("Apache Kafka") as progress:
            ensure_jars(folder, mirror_url=settings.maven_mirror, progress=progress)
    except OSError as error:
        raise LocalError(f"{error.filename or folder} can't be used ({error.strerror or error})") from error
    cache = jar_cache(Path("~/.cache/trimtab"))
    document = {"folder": str(folder.absolute()), "jars": len(pinned_jars()), "copy_to": str(cache)}
    show(
        document,
        as_json,
        lambda console: console.print(
            f"{document['jars']} jars verified in {document['folder']}; copy them to {document['copy_to']} there",
            markup=False,
        ),
    )
