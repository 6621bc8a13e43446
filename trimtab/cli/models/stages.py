"""`trimtab models promote|archive`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.models.group import Comment, ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import show

if TYPE_CHECKING:
    from rich.console import Console


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
    lines = [f"{model_id} {found['version']} is in {stage} now"]
    lines += [f"past what its policy asks for, since it was there before: {told}" for told in found["unmet"]]
    if found["deployed_versions"]:
        served = " and ".join(found["deployed_versions"])
        lines.append(f"{served} still has the traffic: `trimtab deploy {model_id}` gives it to {found['version']}")
    show(found, as_json, lambda console: _print(console, lines))


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
    show(found, as_json, lambda console: _print(console, [f"{model_id} {found['version']} is archived"]))


def _print(console: "Console", lines: Sequence[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
