"""`trimtab loop`: the closed loop."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, group
from trimtab.cli.output import facts, show, table, timeline, when

if TYPE_CHECKING:
    from rich.console import Console

app = group("Look at the closed loop, pause it, start a cycle.")

ModelId = Annotated[str, typer.Argument(help="The model's id.", metavar="ID")]


@app.command("status")
def status(
    model_id: Annotated[str | None, typer.Argument(help="One model; none: all.", metavar="ID")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Where the loop stands and why."""
    with connected(url, api_key) as client:
        found = client.loop_status(model_id)
    show(found, as_json, lambda console: _draw(console, found))


@app.command("pause")
def pause(model_id: ModelId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Start nothing new for this model."""
    with connected(url, api_key) as client:
        found = client.loop_pause(model_id)
    show(found, as_json, lambda console: console.print(f"the loop of {model_id} is paused", markup=False))


@app.command("resume")
def resume(model_id: ModelId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Act again on signals of this model."""
    with connected(url, api_key) as client:
        found = client.loop_resume(model_id)
    show(found, as_json, lambda console: console.print(f"the loop of {model_id} acts again", markup=False))


@app.command("run")
def run(model_id: ModelId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Start a cycle now, without a signal."""
    with connected(url, api_key) as client:
        found = client.loop_run(model_id)
    show(found, as_json, lambda console: console.print(f"a cycle of {model_id} begins", markup=False))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    if "models" in found:
        rows = [(m["model_id"], m["serving_version"], m["step"] or "at rest", m["paused"]) for m in found["models"]]
        table(console, ("model", "serving", "step", "paused"), rows, empty="nothing is deployed")
        return
    facts(
        console,
        [
            ("model", found["model_id"]),
            ("serving", found["serving_version"]),
            ("paused", found["paused"]),
            ("cools down until", when(found["cooldown_until"]) if found["cooldown_until"] else None),
        ],
    )
    steps = [
        ((when(step["at"]), cycle["cycle_id"], step["step"]), step["explanation"])
        for cycle in found["cycles"]
        for step in cycle["steps"]
    ]
    timeline(console, ("when", "cycle", "step"), steps, empty="no cycle yet")
