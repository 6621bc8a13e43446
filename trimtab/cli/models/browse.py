"""`trimtab models list|show|history`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.models.group import ModelId, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected, time_of
from trimtab.cli.output import facts, show, table, when

if TYPE_CHECKING:
    from rich.console import Console


@app.command("list")
def list_models(
    text: Annotated[str | None, typer.Option(help="Words of its versions; `frau*` begins a word.")] = None,
    name: Annotated[str | None, typer.Option(help="Part of its id or name.")] = None,
    stage: Annotated[str | None, typer.Option(help="A stage that a version of it has.")] = None,
    limit: Annotated[int, typer.Option(help="Most models of a page.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="Go on after the page before.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All pages.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Models, by id, with their newest version and the one in production."""
    with connected(url, api_key) as client:
        if every:
            found = {"models": client.all_models(text=text, name=name, stage=stage), "next_cursor": None}
        else:
            found = client.models(text=text, name=name, stage=stage, limit=limit, cursor=cursor)
    rows = [
        (
            model["model_id"],
            model["model_name"],
            model["versions"],
            _brief(model["latest"]),
            (model["production"] or {}).get("version"),
            [f"@{alias} {version}" for alias, version in (model.get("aliases") or {}).items()],
        )
        for model in found["models"]
    ]
    headings = ("model", "name", "versions", "newest", "production", "aliases")
    show(found, as_json, lambda console: table(console, headings, rows, empty="no models"))


@app.command("show")
def show_model(
    model_id: ModelId,
    version: Annotated[
        str | None, typer.Argument(help="One version, or @alias; none: all of them.", metavar="VERSION")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """A model's versions, or one version in full."""
    with connected(url, api_key) as client:
        if version is not None:
            found = client.version(model_id, version)
            show(found, as_json, lambda console: draw_version(console, found))
            return
        found = client.model(model_id)
    rows = [_version_row(version, found.get("deployment") or {}) for version in found["versions"]]
    headings = ("version", "stage", "serves", "aliases", "metrics", "registered")
    show(found, as_json, lambda console: table(console, headings, rows))


@app.command("history")
def history(
    model_id: ModelId,
    version: Annotated[str | None, typer.Argument(help="One version; none: all of them.", metavar="VERSION")] = None,
    at: Annotated[
        str | None, typer.Option(help="What was in production then: 2026-01-31T12:00:00Z.", metavar="TIME")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Who moved which version where, when and why; the newest first. With --at: what was in production then."""
    if at is not None and version is not None:
        raise InvalidInput("--at asks what was in production: leave the version out")
    with connected(url, api_key) as client:
        found = client.history(model_id, version, at=time_of("--at", at) if at is not None else None)
    rows = [
        (when(move["at"]), move["version"], move["from_stage"], move["to_stage"], move["actor"], move["comment"])
        for move in (found["history"] if at is None else [move for move in [found["move"]] if move])
    ]
    headings = ("when", "version", "from", "to", "who", "why")
    show(found, as_json, lambda console: table(console, headings, rows, empty="nothing was in production"))


def _brief(version: dict[str, Any]) -> str:
    return f"{version['version']} ({version['stage']})"


def _version_row(version: dict[str, Any], deployment: dict[str, Any]) -> tuple[Any, ...]:
    routes = [route for route in deployment.get("routes", ()) if route["version"] == version["version"]]
    serves = [f"{route['weight']:g} %" for route in routes]
    serves += [
        role for role in ("shadow", "fallback") if (deployment.get(role) or {}).get("version") == version["version"]
    ]
    names = [f"@{alias}" for alias in version.get("aliases") or ()]
    measured, registered_at = _leading(version["metrics"]), when(version["registered_at"])
    return (version["version"], version["stage"], ", ".join(serves), names, measured, registered_at)


def _leading(metrics: dict[str, float]) -> str:
    names = [name for name in ("accuracy", "f1", "loss") if name in metrics] or sorted(metrics)[:3]
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names)


def draw_version(console: "Console", version: dict[str, Any]) -> None:
    """Everything about a version but its files and signature."""
    skipped = ("created", "signature", "files", "metrics", "hyperparameters", "lineage")
    facts(console, [(name, value) for name, value in version.items() if name not in skipped])
    for name in ("metrics", "hyperparameters", "lineage"):
        facts(console, [(f"{name}.{key}", value) for key, value in (version.get(name) or {}).items()])
