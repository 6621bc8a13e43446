"""`trimtab models list|show|history`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.models.group import ModelId, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import facts, show, table, when

if TYPE_CHECKING:
    from rich.console import Console


@app.command("list")
def list_models(url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Every model and version."""
    with connected(url, api_key) as client:
        found = client.models()
    rows = [
        (
            model["model_id"],
            model["model_name"],
            model["versions"],
            _brief(model["latest"]),
            (model["production"] or {}).get("version"),
        )
        for model in found["models"]
    ]
    headings = ("model", "name", "versions", "newest", "production")
    show(found, as_json, lambda console: table(console, headings, rows, empty="no models"))


@app.command("show")
def show_model(
    model_id: ModelId,
    version: Annotated[str | None, typer.Argument(help="One version; none: all of them.", metavar="VERSION")] = None,
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
    rows = [_version_row(version) for version in found["versions"]]
    show(found, as_json, lambda console: table(console, ("version", "stage", "metrics", "registered"), rows))


@app.command("history")
def history(
    model_id: ModelId,
    version: Annotated[str | None, typer.Argument(help="One version; none: all of them.", metavar="VERSION")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Who moved which version where, when and why; the newest first."""
    with connected(url, api_key) as client:
        found = client.history(model_id, version)
    rows = [
        (when(move["at"]), move["version"], move["from_stage"], move["to_stage"], move["actor"], move["comment"])
        for move in found["history"]
    ]
    show(found, as_json, lambda console: table(console, ("when", "version", "from", "to", "who", "why"), rows))


def _brief(version: dict[str, Any]) -> str:
    return f"{version['version']} ({version['stage']})"


def _version_row(version: dict[str, Any]) -> tuple[Any, ...]:
    return (version["version"], version["stage"], _leading(version["metrics"]), when(version["registered_at"]))


def _leading(metrics: dict[str, float]) -> str:
    names = [name for name in ("accuracy", "f1", "loss") if name in metrics] or sorted(metrics)[:3]
    return "  ".join(f"{name} {metrics[name]:.4g}" for name in names)


def draw_version(console: "Console", version: dict[str, Any]) -> None:
    """Everything about a version but its files and signature."""
    skipped = ("signature", "files", "metrics", "hyperparameters", "lineage")
    facts(console, [(name, value) for name, value in version.items() if name not in skipped])
    for name in ("metrics", "hyperparameters", "lineage"):
        facts(console, [(f"{name}.{key}", value) for key, value in (version.get(name) or {}).items()])
