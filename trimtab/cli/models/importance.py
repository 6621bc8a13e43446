"""`trimtab models importance`."""

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.models.group import app
from trimtab.cli.options import ApiKey, AsJson, Url, connected, split_reference
from trimtab.cli.output import MISSING, cell, show, sparkline, table

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.client import Client

TIMEOUT_SECONDS = 60.0
PAUSE_SECONDS = 1.0
BAR_WIDTH = 24


@app.command("importance")
def importance(
    model: Annotated[str, typer.Argument(help="The model, or one version of it.", metavar="ID[:VERSION]")],
    trend: Annotated[bool, typer.Option("--trend", help="Over the versions of the model.")] = False,
    limit: Annotated[int, typer.Option(help="Features to show, the most important.", min=1)] = 20,
    wait: Annotated[float, typer.Option(help="Seconds to wait for what must be computed first.", min=0)] = 600.0,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Which features matter to a version, or since when."""
    model_id, version = split_reference(model)
    if trend and version is not None:
        raise InvalidInput("--trend is about all versions of a model: give its id alone")
    with connected(url, api_key, timeout_seconds=TIMEOUT_SECONDS) as client:
        found = _waited(client, model_id, version, trend, limit, wait)
    draw = _draw_trend if trend else _draw
    show(found, as_json, lambda console: draw(console, found))


def _waited(
    client: "Client", model_id: str, version: str | None, trend: bool, limit: int, seconds: float
) -> dict[str, Any]:
    """The answer once nothing is pending, or what there is when the time is up."""
    deadline = time.monotonic() + seconds
    while True:
        found: dict[str, Any] = (
            client.importance_trend(model_id, limit=limit)
            if trend
            else client.importance(model_id, version, limit=limit)
        )
        pending = bool(found["pending"]) if trend else found["state"] == "pending"
        if not pending or time.monotonic() >= deadline:
            return found
        time.sleep(PAUSE_SECONDS)


def _draw(console: "Console", found: dict[str, Any]) -> None:
    if found["state"] == "pending":
        console.print(f"{found['rows_done']} of {found['rows']} rows are done: ask again later", markup=False)
        return
    greatest = max((one["importance"] for one in found["features"]), default=0.0)
    rows = [
        (
            one["feature"],
            f"{one['importance']:.4g}",
            f"± {one['standard_error']:.2g}",
            "█" * (round(one["importance"] / greatest * BAR_WIDTH) if greatest > 0 else 0),
        )
        for one in found["features"]
    ]
    console.print(
        f"{found['model_id']} {found['version']}: mean |{found['method']}| over {found['rows']} rows of the baseline, "
        f"against {found['background_rows']}",
        markup=False,
    )
    table(console, ("feature", "importance", "error", ""), rows, empty="no features")
    if found["feature_count"] > len(rows):
        console.print(f"{found['feature_count'] - len(rows)} more features: see --limit", markup=False)


def _draw_trend(console: "Console", found: dict[str, Any]) -> None:
    versions = found["versions"]
    if versions:
        console.print(f"{found['model_id']}, {versions[0]} to {versions[-1]} ({len(versions)} versions)", markup=False)
    rows = [
        (
            one["feature"],
            sparkline([value or 0.0 for value in one["importance"]]),
            next((value for value in reversed(one["importance"]) if value is not None), None),
            MISSING if one["change"] is None else f"{one['change']:+.4g}",
        )
        for one in found["features"]
    ]
    table(console, ("feature", "trend", "newest", "change"), rows, empty="no version has an importance yet")
    for version in found["pending"]:
        console.print(f"{version}: being computed", markup=False)
    for version, reason in found["failed"].items():
        console.print(f"{version}: {cell(reason)}", markup=False)
