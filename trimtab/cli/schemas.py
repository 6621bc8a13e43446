"""`trimtab schemas`: what travels through Kafka, for other programs."""

from pathlib import Path
from typing import Annotated

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, group
from trimtab.cli.output import show

app = group("Export JSON Schema and AsyncAPI.")


@app.callback()
def schemas() -> None:
    """Export JSON Schema and AsyncAPI."""


@app.command("export")
def export(
    folder: Annotated[Path, typer.Argument(help="Where to write.", metavar="DIR")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Write the AsyncAPI 3 document and the JSON Schema of every message."""
    from schemas.asyncapi import export
    from trimtab.local.errors import LocalError

    try:
        files = export(folder)
    except OSError as error:
        raise LocalError(f"{error.filename or folder} can't be written ({error.strerror or error})") from error
    document = {"folder": str(folder.absolute()), "files": [str(file) for file in files]}
    show(document, as_json, lambda console: console.print(f"{len(files)} files in {folder.absolute()}", markup=False))
