"""`trimtab models import`: from an archive of `trimtab models export`, or from MLflow."""

from pathlib import Path
from typing import Annotated

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.models import archives
from trimtab.cli.models.browse import draw_version
from trimtab.cli.models.group import app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import show


@app.command("import")
def import_model(
    source: Annotated[
        str,
        typer.Argument(
            help="An archive of `trimtab models export`; or an MLflow model folder, models:/NAME/VERSION, "
            "models:/NAME@ALIAS, models:/m-ID or runs:/RUN/PATH.",
            metavar="SOURCE",
        ),
    ],
    model_id: Annotated[str | None, typer.Option("--model-id", help="The model it becomes a version of.")] = None,
    version: Annotated[str | None, typer.Option(help="Its version; none: the next one.")] = None,
    tracking_uri: Annotated[
        str | None, typer.Option("--tracking-uri", help="The MLflow server; default MLFLOW_TRACKING_URI.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Register a version that another registry exported, or a model that MLflow keeps, as a new draft."""
    if Path(source).is_file():
        if model_id is not None or version is not None:
            raise InvalidInput("an archive keeps its model and version: leave out --model-id and --version")
        archives.import_archive(Path(source), url, api_key, as_json)
        return
    if ":/" not in source and not Path(source).exists():
        raise InvalidInput(f"there is no file or folder {source}")
    if model_id is None:
        raise InvalidInput("a model of MLflow's becomes a version of which model? Give --model-id")
    with connected(url, api_key, timeout_seconds=600) as client:
        found = client.import_mlflow(source, model_id=model_id, version=version, tracking_uri=tracking_uri)
    show(found, as_json, lambda console: draw_version(console, found))
