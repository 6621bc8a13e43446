"""`trimtab models register`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.models.browse import draw_version
from trimtab.cli.models.group import app
from trimtab.cli.options import ApiKey, AsJson, Url, connected, read_document
from trimtab.cli.output import show
from trimtab.local.progress import work_progress

if TYPE_CHECKING:
    from rich.console import Console


@app.command("register")
def register(
    path: Annotated[
        Path, typer.Argument(help="An ONNX file, a version's folder, or a TensorFlow SavedModel's.", metavar="PATH")
    ],
    model_id: Annotated[str, typer.Option("--model-id", help="The model it is a version of.")],
    version: Annotated[str | None, typer.Option(help="Its version; none: the next one.")] = None,
    direct: Annotated[
        bool, typer.Option("--direct", help="Send the files straight to S3, if they are kept there.")
    ] = False,
    metadata: Annotated[Path | None, typer.Option(help="More about it: JSON or YAML.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Upload a model as a new draft. Only what the registry lacks is sent; broken off, it goes on when run again."""
    about = read_document(metadata) if metadata else {}
    given = {**about, "model_id": model_id, "version": version}
    with connected(url, api_key) as client, work_progress("upload", path.name) as progress:
        found = client.register_model(path, **given, direct=direct, on_progress=progress)
    show(found, as_json, lambda console: _draw(console, found))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    if not found["created"]:
        console.print(f"{found['model_id']} {found['version']} was here already", markup=False)
    draw_version(console, found)
