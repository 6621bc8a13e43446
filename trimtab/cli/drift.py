"""`trimtab drift`: how far each feature is from its baseline."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, single
from trimtab.cli.output import facts, show, sparkline, table, when

if TYPE_CHECKING:
    from rich.console import Console

app = single()


@app.command()
def drift(
    model_id: Annotated[str, typer.Argument(help="The model's id.", metavar="ID")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Every feature's score in the last window and over time, the open signal, and the accuracy on labels."""
    with connected(url, api_key) as client:
        found = client.drift(model_id)
    show(found, as_json, lambda console: _draw(console, found))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    from trimtab.ui.drift_view import drift_view

    view = drift_view(found)
    performance = found["performance"]
    measured = performance["history"][-1] if performance["history"] else performance["current"]
    window = None
    if view is not None:
        kind = f"the last of {view.windows} judged windows" if view.complete else "a window that still fills"
        window = f"{kind}: {view.rows} rows, {when(view.start)} to {when(view.end)}"
    facts(
        console,
        [
            ("model", f"{found['model_id']} {found['version']}"),
            ("window", window),
            ("signal", f"drift in {', '.join(found['signal']['features'])}" if found["signal"] else "none"),
            ("accuracy", f"{measured['value']:.4f} on {measured['labelled_rows']} labelled rows" if measured else None),
            ("at training", performance["baseline"]),
            ("note", found.get("note")),
        ],
    )
    if view is None:
        return
    rows = [
        (
            feature.feature,
            feature.score,
            feature.expected,
            feature.alarm_at,
            "DRIFTED" if feature.drifted else "",
            sparkline(feature.past),
        )
        for feature in (*view.leading, *view.others)
    ]
    table(console, ("feature", view.method, "without drift", "alarm at", "", "windows"), rows)
