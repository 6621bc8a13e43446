"""`trimtab models alias|policy|gates|ask|approve|reject|check|controls|compliance`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.models.group import Comment, ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected, read_document, time_of
from trimtab.cli.output import facts, page, show, table, when

if TYPE_CHECKING:
    from rich.console import Console

Stage = Annotated[str, typer.Option("--stage", help="staging or production.")]


class Format(StrEnum):
    """How a report is written."""

    JSON = "json"
    MARKDOWN = "markdown"


@app.command("alias")
def alias(
    model_id: ModelId,
    name: Annotated[str | None, typer.Argument(help="An alias; none: list them.", metavar="NAME")] = None,
    version: Annotated[
        str | None, typer.Argument(help="The version that it shall name; none: show its history.", metavar="VERSION")
    ] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Let it name nothing any more.")] = False,
    at: Annotated[str | None, typer.Option(help="What it named then: 2026-01-31T12:00:00Z.", metavar="TIME")] = None,
    comment: Comment = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List a model's aliases, set one, remove one, or show what one named and when."""
    if name is None and (remove or at is not None):
        raise InvalidInput("name the alias")
    if version is not None and (remove or at is not None):
        raise InvalidInput("give a version to set the alias, or --remove, or --at, not two of them")
    with connected(url, api_key) as client:
        if name is None:
            found = client.aliases(model_id)
            show(found, as_json, lambda console: _draw_aliases(console, found["aliases"]))
        elif remove:
            client.remove_alias(model_id, name, comment=comment)
            gone = {"model_id": model_id, "alias": name, "version": None}
            show(gone, as_json, lambda console: console.print(f"{model_id} has no @{name} any more", markup=False))
        elif version is not None:
            found = client.set_alias(model_id, name, version, comment=comment)
            told = f"{model_id}@{name} is {found['version']} now"
            show(found, as_json, lambda console: console.print(told, markup=False))
        else:
            found = client.alias_history(model_id, name, at=time_of("--at", at) if at is not None else None)
            moves = found["history"] if at is None else [move for move in [found["move"]] if move]
            show(found, as_json, lambda console: _draw_moves(console, moves))


@app.command("policy")
def policy(
    model_id: Annotated[
        str | None, typer.Argument(help="The model's id; none: the default of all models.", metavar="ID")
    ] = None,
    set_to: Annotated[Path | None, typer.Option("--set", help="The new policy, whole: JSON or YAML.")] = None,
    unset: Annotated[bool, typer.Option("--unset", help="Follow the default again.")] = False,
    revision: Annotated[int | None, typer.Option(help="Only if this is the present revision still.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show what must hold before versions move, or write it anew (needs the scope admin)."""
    if set_to is not None and unset:
        raise InvalidInput("give either --set or --unset")
    document = read_document(set_to) if set_to is not None else None
    with connected(url, api_key) as client:
        if document is not None:
            found = client.set_policy(document, model_id, expected_revision=revision)
        elif unset:
            found = client.remove_policy(model_id, expected_revision=revision)
        else:
            found = client.policy(model_id)
    show(found, as_json, lambda console: _draw_policy(console, found))


@app.command("gates")
def gates(
    model_id: ModelId,
    version: VersionText,
    stage: Annotated[str, typer.Argument(help="staging or production.", metavar="STAGE")] = "production",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """What stands between a version and a stage."""
    with connected(url, api_key) as client:
        found = client.gates(model_id, version, stage)
    rows = [(gate["met"], gate["gate"], gate["says"], gate["by"]) for gate in found["gates"]]
    headings = ("met", "gate", "", "by")
    empty = f"nothing stands before {stage}"
    show(found, as_json, lambda console: table(console, headings, rows, empty=empty))


@app.command("ask")
def ask(
    model_id: ModelId,
    version: VersionText,
    stage: Stage = "production",
    comment: Comment = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Ask for the approval of a promotion."""
    with connected(url, api_key) as client:
        _told(client.ask_approval(model_id, version, stage, comment=comment), model_id, as_json)


@app.command("approve")
def approve(
    model_id: ModelId,
    version: VersionText,
    stage: Stage = "production",
    comment: Comment = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Approve a promotion (needs the scope approve)."""
    with connected(url, api_key) as client:
        _told(client.approve(model_id, version, stage, comment=comment), model_id, as_json)


@app.command("reject")
def reject(
    model_id: ModelId,
    version: VersionText,
    stage: Stage = "production",
    comment: Comment = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Reject a promotion; it is blocked until you approve it (needs the scope approve)."""
    with connected(url, api_key) as client:
        _told(client.reject(model_id, version, stage, comment=comment), model_id, as_json)


@app.command("check")
def check(
    model_id: ModelId,
    version: VersionText,
    name: Annotated[str | None, typer.Argument(help="The check; none: list the results.", metavar="NAME")] = None,
    passed: Annotated[bool | None, typer.Option("--passed/--failed", help="Its result.")] = None,
    detail: Annotated[str, typer.Option(help="What was found.")] = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """List the results of a version's checks, or record one."""
    if (name is None) is not (passed is None):
        raise InvalidInput("to record a result give the check's name and --passed or --failed")
    with connected(url, api_key) as client:
        if name is None or passed is None:
            found = client.checks(model_id, version)
            rows = [(c["name"], c["passed"], when(c["at"]), c["actor"], c["detail"]) for c in found["latest"]]
            headings = ("check", "passed", "when", "who", "detail")
            show(found, as_json, lambda console: table(console, headings, rows, empty="no results"))
            return
        found = client.record_check(model_id, version, name, passed, detail=detail)
    told = f"{model_id} {found['version']}: {name} {'passed' if passed else 'failed'}"
    show(found, as_json, lambda console: console.print(told, markup=False))


@app.command("controls")
def controls(
    model_id: ModelId,
    control: Annotated[str | None, typer.Option("--set", help="Write this control, from --file.")] = None,
    file: Annotated[Path | None, typer.Option("--file", help="The control, whole: JSON or YAML.")] = None,
    remove: Annotated[str | None, typer.Option("--remove", help="Take this control off the checklist.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's compliance checklist, or change it (needs the scope approve)."""
    if (control is None) is not (file is None) or (control is not None and remove is not None):
        raise InvalidInput("give --set CONTROL with --file FILE, or --remove CONTROL, or neither to see the checklist")
    document = read_document(file) if file is not None else None
    with connected(url, api_key) as client:
        if control is not None and document is not None:
            client.set_control(model_id, control, document)
        elif remove is not None:
            client.remove_control(model_id, remove)
        found = client.controls(model_id)
    rows = [
        (c["control_id"], c["title"], c["counts_as"], c["owner"], c["stages"], when(c["expires_at"]), c["evidence"])
        for c in found["controls"]
    ]
    headings = ("control", "title", "state", "owner", "gates", "expires", "evidence")
    show(found, as_json, lambda console: table(console, headings, rows, empty="the checklist is empty"))


@app.command("compliance")
def compliance(
    model_id: ModelId,
    format: Annotated[Format, typer.Option(help="How it is written.")] = Format.MARKDOWN,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """The compliance report of a model: every control, what is in production, and who vouched for it."""
    as_json = as_json or format is Format.JSON
    with connected(url, api_key) as client:
        found = client.compliance(model_id, format="json" if as_json else "markdown")
    show(found, as_json, lambda _: print(page(found), end=""))


def _draw_aliases(console: "Console", aliases: list[dict[str, Any]]) -> None:
    rows = [(alias["alias"], alias["version"], when(alias["at"]), alias["actor"]) for alias in aliases]
    table(console, ("alias", "version", "since", "by"), rows, empty="no aliases")


def _draw_moves(console: "Console", moves: list[dict[str, Any]]) -> None:
    rows = [
        (when(move["at"]), move["version"], move["previous_version"], move["actor"], move["comment"]) for move in moves
    ]
    table(console, ("when", "version", "before", "who", "why"), rows, empty="it named nothing")


def _told(found: dict[str, Any], model_id: str, as_json: bool) -> None:
    told = f"{found['actor']}: {found['decision']} {model_id} {found['version']} to {found['stage']}"
    show(found, as_json, lambda console: console.print(told, markup=False))


def _draw_policy(console: "Console", found: dict[str, Any]) -> None:
    document = found["policy"]
    facts(console, [("policy", found["model_id"] or "default"), ("from", found["source"])])
    facts(console, [("revision", found["revision"]), ("former", document["former"])])
    names = list(document["production"])
    rows = [(name, document["staging"][name], document["production"][name]) for name in names]
    table(console, ("before", "staging", "production"), [tuple(map(str, _shown(row))) for row in rows])
    facts(console, [(f"retention.{name}", value) for name, value in document["retention"].items()])


def _shown(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(
        "-" if value in ([], None) else ", ".join(value) if isinstance(value, list) else value for value in row
    )
