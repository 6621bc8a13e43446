"""`trimtab models export`, and the half of `trimtab models import` that takes what it wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.models.group import ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import facts, show
from trimtab.local.progress import download_progress, work_progress

if TYPE_CHECKING:
    from rich.console import Console


@app.command("export")
def export(
    model_id: ModelId,
    version: VersionText,
    path: Annotated[Path, typer.Argument(help="The archive to write, a tar file.", metavar="FILE")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Write a version with its record and signatures to one file, for another registry."""
    with connected(url, api_key) as client, download_progress(f"{model_id} {version}") as progress:
        size_bytes = client.export_model(model_id, version, path, on_progress=progress)
    found = {"model_id": model_id, "version": version, "path": str(path), "bytes": size_bytes}
    show(found, as_json, lambda console: console.print(f"{path} holds {model_id} {version}", markup=False))


def import_archive(path: Path, url: str | None, api_key: str | None, as_json: bool) -> None:
    """Register the version in an archive."""
    with connected(url, api_key) as client, work_progress("upload", path.name) as progress:
        found = client.import_model(path, on_progress=progress)
    show(found, as_json, lambda console: _draw(console, found))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    if not found["created"]:
        console.print(f"{found['model_id']} {found['version']} was here already", markup=False)
    facts(console, list(found.items()))
