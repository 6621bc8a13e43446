"""`trimtab models promote|archive`."""

from typing import Annotated

import typer

from trimtab.cli.models.group import Comment, ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import show


@app.command("promote")
def promote(
    model_id: ModelId,
    version: VersionText,
    stage: Annotated[str, typer.Argument(help="staging or production.", metavar="STAGE")],
    comment: Comment = "",
    changes: Annotated[
        str | None, typer.Option(help="What is different from the version's parent, if it does not say so yet.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Move a version to staging, then to production."""
    with connected(url, api_key) as client:
        found = client.promote(model_id, version, stage, comment=comment, changes=changes)
    show(
        found, as_json, lambda console: console.print(f"{model_id} {found['version']} is in {stage} now", markup=False)
    )


@app.command("archive")
def archive(
    model_id: ModelId,
    version: VersionText,
    comment: Comment = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Take a version out of use; it is kept for ever."""
    with connected(url, api_key) as client:
        found = client.archive(model_id, version, comment=comment)
    show(found, as_json, lambda console: console.print(f"{model_id} {version} is archived", markup=False))
