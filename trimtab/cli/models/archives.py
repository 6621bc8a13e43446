"""`trimtab models export`, and the half of `trimtab models import` that takes what it wrote."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
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
    path: Annotated[Path | None, typer.Argument(help="The file to write.", metavar="[FILE]")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write.", metavar="FILE")] = None,
    edge: Annotated[
        bool, typer.Option("--edge", help="A ZIP archive that predicts with Python, ONNX Runtime and NumPy alone.")
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Write a version with its record and signatures to one tar file, for another registry; or an edge bundle."""
    if path is not None and output is not None:
        raise InvalidInput("name the file once: as FILE or with --output")
    target = path or output or Path(f"{model_id}-{version}-edge.zip" if edge else f"{model_id}-{version}.tar")
    with connected(url, api_key) as client, download_progress(f"{model_id} {version}") as progress:
        write = client.export_edge if edge else client.export_model
        size_bytes = write(model_id, version, target, on_progress=progress)
    found = {"model_id": model_id, "version": version, "path": str(target), "bytes": size_bytes}
    holds = f"{target} holds {model_id} {version}" + ("; its README.md says how to use it" if edge else "")
    show(found, as_json, lambda console: console.print(holds, markup=False))


def import_archive(path: Path, url: str | None, api_key: str | None, as_json: bool) -> None:
    """Register the version in an archive."""
    with connected(url, api_key) as client, work_progress("upload", path.name) as progress:
        found = client.import_model(path, on_progress=progress)
    show(found, as_json, lambda console: _draw(console, found))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    if not found["created"]:
        console.print(f"{found['model_id']} {found['version']} was here already", markup=False)
    facts(console, list(found.items()))
