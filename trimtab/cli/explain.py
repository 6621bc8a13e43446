"""`trimtab explain`: what each feature adds to an answer."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, single, split_reference
from trimtab.cli.output import bar, cell, facts, show, table
from trimtab.cli.predict import parse_input

if TYPE_CHECKING:
    from rich.console import Console

app = single()

TIMEOUT_SECONDS = 120.0


@app.command()
def explain(
    model: Annotated[str, typer.Argument(help="The model, or one version of it.", metavar="ID[:VERSION]")],
    input: Annotated[str, typer.Option(help="One input: a JSON object of feature and value.")],
    method: Annotated[str, typer.Option(help="`shapley` or `lime`.")] = "shapley",
    target: Annotated[
        str | None, typer.Option("--class", help="The class to explain; default: the predicted one.")
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Coalitions, or perturbed rows, to try.", min=2)] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same explanation.", min=0)] = 0,
    limit: Annotated[int, typer.Option(help="Features to show, the weightiest.", min=1)] = 20,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What each feature adds to a model's answer for one input."""
    model_id, version = split_reference(model)
    row = parse_input(input)
    with connected(url, api_key, timeout_seconds=TIMEOUT_SECONDS) as client:
        found = client.explain(model_id, row, version=version, method=method, target=target, samples=samples, seed=seed)
    show(found, as_json, lambda console: _draw(console, found, limit))


def _draw(console: "Console", found: dict[str, Any], limit: int) -> None:
    kind = {"probability": "probability of", "indicator": "whether it is"}.get(found["kind"])
    of = f"{kind} {cell(found['class'])}" if kind else "the predicted value"
    facts(
        console,
        [
            ("model", f"{found['model_id']} {found['version']}"),
            ("prediction", found["prediction"]),
            ("explained", of),
            ("base value", f"{found['base_value']:.4f}, the mean over {found['background_rows']} rows of the baseline"),
            ("output", f"{found['output']:.4f}"),
            ("method", f"{found['method']} ({found['algorithm']}, {found['samples']} samples, seed {found['seed']})"),
            ("additivity error", f"{found['additivity_error']:.2g}"),
            ("local fit R2", found["fidelity"]),
            ("took", f"{found['elapsed_ms']:.0f} ms"),
        ],
    )
    shown = found["contributions"][:limit]
    greatest = max((abs(one["contribution"]) for one in shown), default=0.0)
    rows = [
        (one["feature"], one["value"], f"{one['contribution']:+.4f}", bar(one["contribution"], greatest))
        for one in shown
    ]
    table(console, ("feature", "value", "contribution", "- 0 +"), rows, empty="no features")
    rest = found["contributions"][limit:]
    if rest:
        total = sum(one["contribution"] for one in rest)
        console.print(f"{len(rest)} more features add {total:+.4f} together: see --limit", markup=False)
