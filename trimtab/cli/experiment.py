"""`trimtab experiment`: hyper-parameter searches."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, group, read_document
from trimtab.cli.output import facts, show, table

if TYPE_CHECKING:
    from rich.console import Console

app = group("Run and compare hyper-parameter searches.")

POLL_SECONDS = 1.0
ExperimentId = Annotated[str, typer.Argument(help="The experiment's id.", metavar="EXPERIMENT_ID")]


@app.command("run")
def run(
    config: Annotated[Path, typer.Argument(help="The experiment, JSON or YAML.", metavar="CONFIG")],
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit status 1 if it failed.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Start a search."""
    with connected(url, api_key) as client:
        found = client.create_experiment(read_document(config))
        while wait and found["state"] == "running":
            time.sleep(POLL_SECONDS)
            found = client.experiment(found["experiment_id"])
    show(found, as_json, lambda console: _draw(console, found))
    if wait and found["state"] != "succeeded":
        raise typer.Exit(1)


@app.command("show")
def show_experiment(
    experiment_id: ExperimentId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """One experiment with its trials."""
    with connected(url, api_key) as client:
        found = client.experiment(experiment_id)
    show(found, as_json, lambda console: _draw(console, found))


@app.command("list")
def list_experiments(url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Every experiment."""
    with connected(url, api_key) as client:
        found = client.experiments()
    rows = [(e["experiment_id"], e["name"], e["state"], e.get("best_value")) for e in found["experiments"]]
    show(found, as_json, lambda console: table(console, ("experiment", "name", "state", "best"), rows))


@app.command("stop")
def stop(experiment_id: ExperimentId, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Ask for no further trials; those under way are cancelled."""
    with connected(url, api_key) as client:
        found = client.stop_experiment(experiment_id)
    show(found, as_json, lambda console: console.print(f"{experiment_id} is being stopped", markup=False))


@app.command("compare")
def compare(
    experiment_ids: Annotated[list[str], typer.Argument(help="Two or more.", metavar="EXPERIMENT_ID...")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Experiments side by side."""
    with connected(url, api_key) as client:
        found = client.compare(experiment_ids)
    rows = [(e["experiment_id"], e["name"], e["state"], e.get("best_value")) for e in found["experiments"]]
    show(found, as_json, lambda console: table(console, ("experiment", "name", "state", "best"), rows))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    facts(console, [(name, value) for name, value in found.items() if name not in ("trials", "experiment", "best_job")])
    rows = [(t["trial"], t["state"], t.get("parameters"), t.get("value")) for t in found.get("trials", ())]
    table(console, ("trial", "state", "parameters", "value"), rows, empty="no trials yet")
