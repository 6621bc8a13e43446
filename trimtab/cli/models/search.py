"""`trimtab models search|annotate`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.models.browse import draw_version
from trimtab.cli.models.group import ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import show, table, when

if TYPE_CHECKING:
    from rich.console import Console


@app.command("search")
def search(
    filter: Annotated[
        str,
        typer.Argument(help="For example 'metrics.f1 > 0.9 and stage in (staging, production)'.", metavar="[FILTER]"),
    ] = "",
    text: Annotated[str | None, typer.Option(help="Words that all occur; `frau*` begins a word.")] = None,
    order_by: Annotated[
        str | None, typer.Option(help="registered_at, version, model_id or metrics.NAME; asc or desc behind it.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Most versions of a page.")] = 20,
    cursor: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Find versions of any model, the newest first."""
    with connected(url, api_key) as client:
        if every:
            found = {"versions": client.search_all(filter, text=text, order_by=order_by), "next_cursor": None}
        else:
            found = client.search(filter, text=text, order_by=order_by, limit=limit, cursor=cursor)
    measured = _measured(filter, order_by)
    show(found, as_json, lambda console: _draw(console, found, measured))


@app.command("annotate")
def annotate(
    model_id: ModelId,
    version: VersionText,
    description: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    changes: Annotated[str | None, typer.Option(help="What is different from its parent.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="NAME=VALUE; NAME= alone removes it.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Write about a version; its files, manifest and digests stay."""
    tags = dict(map(_tag, tag or ()))
    with connected(url, api_key) as client:
        found = client.annotate(model_id, version, description=description, changes=changes, tags=tags)
    show(found, as_json, lambda console: draw_version(console, found))


def _tag(text: str) -> tuple[str, str | None]:
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise InvalidInput(f"--tag {text!r} is not NAME=VALUE")
    return name, value or None


def _measured(filter: str, order_by: str | None) -> list[str]:
    """The metrics that the question names: those are shown."""
    import re

    return list(dict.fromkeys(re.findall(r"metrics\.([^\s()=<>!,\"'`]+)", f"{order_by or ''} {filter}")))


def _draw(console: "Console", found: dict[str, Any], measured: list[str]) -> None:
    rows = [
        (
            version["model_id"],
            version["version"],
            version["stage"],
            *(version["metrics"].get(name) for name in measured),
            when(version["registered_at"]),
            version["description"][:60],
        )
        for version in found["versions"]
    ]
    headings = ("model", "version", "stage", *measured, "registered", "description")
    table(console, headings, rows, empty="nothing found")
    if found["next_cursor"]:
        console.print(f"more: --cursor {found['next_cursor']}, or --all", style="dim", markup=False, soft_wrap=True)
