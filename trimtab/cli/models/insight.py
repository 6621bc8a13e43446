"""`trimtab models diff|card|lineage`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.models.group import ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import MISSING, cell, page, show, table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.tree import Tree


@app.command("diff")
def diff(
    model_id: ModelId,
    a: Annotated[str, typer.Argument(help="A version, or @alias.", metavar="VERSION")],
    b: Annotated[str, typer.Argument(help="Another; of another model: OTHER:VERSION.", metavar="VERSION")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What is different between two versions."""
    with connected(url, api_key) as client:
        found = client.compare_versions(model_id, a, b)
    show(found, as_json, lambda console: _draw_diff(console, found))


@app.command("card")
def card(
    model_id: ModelId,
    version: VersionText,
    out: Annotated[Path | None, typer.Option(help="A file to write the page to.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """The card of a version, as a page of Markdown."""
    with connected(url, api_key) as client:
        found = client.card(model_id, version, format="json" if as_json else "markdown")
    if out is None:
        show(found, as_json, lambda _: print(page(found)))
        return
    try:
        out.write_text(found if isinstance(found, str) else _as_json(found), encoding="utf-8")
    except OSError as error:
        raise InvalidInput(f"{out} can't be written ({error.strerror})") from error


@app.command("lineage")
def lineage(
    model_id: ModelId,
    version: VersionText,
    depth: Annotated[int, typer.Option(help="Generations of parents, and of children.", min=0, max=10)] = 3,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Where a version comes from and what became of it."""
    with connected(url, api_key) as client:
        found = client.lineage(model_id, version, depth=depth)
    show(found, as_json, lambda console: _draw_lineage(console, found))


def _as_json(document: Any) -> str:
    import json

    return json.dumps(document, indent=2) + "\n"


def _draw_diff(console: "Console", found: dict[str, Any]) -> None:
    from rich.text import Text

    one, two = (f"{side['model_id']} {side['version']}" for side in (found["a"], found["b"]))
    if found["same_model"]:
        console.print(Text("the model files are the same", "green"))
    if not found["same_interface"]:
        console.print(Text("inputs or outputs differ: one request does not fit both", "yellow"))
    _draw_metrics(console, found["metrics"], one, two)
    sections = ("hyperparameters", "inputs", "outputs", "lineage", "baseline")
    differences = [(f"{name}.{each['name']}", each["a"], each["b"]) for name in sections for each in found[name]]
    if found["classes"] is not None:
        differences.append(("classes", found["classes"]["a"], found["classes"]["b"]))
    table(console, ("what differs", one, two), differences, empty="nothing else differs but maybe files")
    files = [
        (file["path"], "same" if file["same"] else "differs", file["size_a"], file["size_b"]) for file in found["files"]
    ]
    table(console, ("file", "", f"bytes, {one}", f"bytes, {two}"), files)


def _draw_metrics(console: "Console", metrics: list[dict[str, Any]], one: str, two: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    if not metrics:
        return
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("metric", one, two, "change"):
        drawn.add_column(Text(cell(heading)), justify="left" if heading == "metric" else "right", overflow="fold")
    for metric in metrics:
        style = {"b": "green", "a": "red"}.get(metric["better"], "")
        drawn.add_row(
            Text(cell(metric["name"])), Text(cell(metric["a"])), Text(cell(metric["b"])), Text(_change(metric), style)
        )
    console.print(drawn)


def _change(metric: dict[str, Any]) -> str:
    if metric["delta"] is None:
        return MISSING
    relative = "" if metric["relative"] is None else f" ({metric['relative']:+.1%})"
    judged = {"b": " better", "a": " worse"}.get(metric["better"], "")
    return f"{metric['delta']:+.4g}{relative}{judged}"


def _draw_lineage(console: "Console", found: dict[str, Any]) -> None:
    from rich.text import Text
    from rich.tree import Tree

    nodes = {node["id"]: node for node in found["nodes"]}
    tree = Tree(_named(nodes[found["root"]], "bold"))
    origin, outcome = tree.add(Text("comes from", "dim")), tree.add(Text("led to", "dim"))
    forward = [(edge["source"], edge["target"], edge["relation"]) for edge in found["edges"]]
    _grow(origin, found["root"], nodes, [(target, source, relation) for source, target, relation in forward])
    _grow(outcome, found["root"], nodes, forward)
    console.print(tree)
    if not found["complete"]:
        console.print(Text("there are more versions: ask for a greater --depth", "dim"))


def _grow(branch: "Tree", root: str, nodes: dict[str, Any], edges: list[tuple[str, str, str]]) -> None:
    """Add what is reached from `root`, each node once."""
    grown = {root: branch}
    waiting = [root]
    while waiting:
        here = waiting.pop(0)
        for source, target, relation in edges:
            if source == here and target not in grown:
                grown[target] = grown[here].add(_named(nodes[target], "", f"  {relation}"))
                waiting.append(target)


def _named(node: dict[str, Any], style: str, after: str = "") -> Any:
    from rich.text import Text

    stage = f" ({node['stage']})" if node["stage"] else ""
    return Text(f"{node['kind']} ", "dim") + Text(cell(f"{node['name']}{stage}"), style) + Text(after, "dim")
