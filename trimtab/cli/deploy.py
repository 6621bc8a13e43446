"""`trimtab deploy`: give a version traffic, and say how the model is served."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import Conflict, InvalidInput
from trimtab.cli.deployment_view import draw_deployment, draw_deployments, draw_report
from trimtab.cli.options import ApiKey, AsJson, Url, connected, read_document, single, split_reference
from trimtab.cli.output import show
from trimtab.errors import Unfinished

if TYPE_CHECKING:
    from trimtab.client import Client

app = single()


@app.command()
def deploy(
    reference: Annotated[
        str | None, typer.Argument(help="A model, one version of it, or ID@ALIAS.", metavar="ID[:VERSION]")
    ] = None,
    canary: Annotated[float | None, typer.Option(help="Only this percentage of the traffic.", min=0, max=100)] = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="A named share of the traffic; give each of them.", metavar="NAME=VERSION:PERCENT"),
    ] = None,
    shadow: Annotated[str | None, typer.Option(help="A version that answers beside, unseen.")] = None,
    fallback: Annotated[str | None, typer.Option(help="A version that answers when the other fails.")] = None,
    fallback_model: Annotated[str | None, typer.Option(help="A model that answers when the versions fail.")] = None,
    fallback_constant: Annotated[
        str | None,
        typer.Option(help="What is answered when nothing else can be: a class, or a number.", metavar="JSON"),
    ] = None,
    sticky_key: Annotated[
        str | None, typer.Option(help="The feature or header by which a caller stays with a version.")
    ] = None,
    options: Annotated[
        Path | None, typer.Option(help="How the model is served from now on: JSON or YAML.", metavar="FILE")
    ] = None,
    options_only: Annotated[bool, typer.Option("--options-only", help="Take the options, change no traffic.")] = False,
    quantize: Annotated[
        str | None, typer.Option(help="Serve it by a smaller graph: int8 or fp16; none: by its own.", metavar="KIND")
    ] = None,
    max_loss: Annotated[
        float | None, typer.Option(help="With --quantize: the greatest loss that is accepted (0.01).", min=0, max=1)
    ] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the deployment.")] = "",
    only_show: Annotated[bool, typer.Option("--show", help="Change nothing; without ID, of all models.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every replica serves it; status 1 if one can't, or too late.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="With --wait: seconds to wait.", min=0)] = 60.0,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Give a version traffic; without a version, the one in production."""
    if reference is None:
        if not only_show:
            raise InvalidInput("name the model: ID, ID:VERSION or ID@ALIAS")
        with connected(url, api_key) as client:
            page = client.deployments()
        show(page, as_json, lambda console: draw_deployments(console, page["deployments"]))
        return
    if max_loss is not None and quantize is None:
        raise InvalidInput("--max-loss bounds what --quantize may lose: name the kind too, --quantize int8 or fp16")
    model_id, version = split_reference(reference)
    document = read_document(options) if options is not None else None
    asked = {
        "canary": canary,
        "variants": _variants(variant) if variant else None,
        "shadow": shadow,
        "fallback": fallback,
        "fallback_model": fallback_model,
        "fallback_constant": _constant(fallback_constant),
        "sticky_key": sticky_key,
        "quantize": quantize,
        "quantize_max_loss": max_loss,
        "reason": reason or None,
    }
    with connected(url, api_key) as client:
        if only_show:
            found = client.deployment(model_id)
        elif options_only:
            found = _other_options(client, model_id, document, [version, *asked.values()])
        else:
            try:
                found = client.deploy(model_id, version, options=document, **asked)
            except Conflict as error:
                if (report := error.facts.get("report")) and not as_json:
                    show(report, False, lambda console: draw_report(console, report))
                raise
        try:
            if wait:
                found = client.wait_deployed(model_id, timeout_seconds=timeout)
        except Unfinished:
            late = client.deployment(model_id)
            show(late, as_json, lambda console: draw_deployment(console, late))
            raise
    show(found, as_json, lambda console: draw_deployment(console, found))


def _other_options(client: "Client", model_id: str, document: dict[str, Any] | None, others: list[Any]) -> Any:
    if document is None or any(value is not None for value in others):
        raise InvalidInput("--options-only takes a model and --options, and changes nothing else")
    return client.set_deployment_options(model_id, document)


def _variants(given: list[str]) -> dict[str, dict[str, Any]]:
    """`NAME=VERSION:PERCENT` of each. Raises `InvalidInput`."""
    variants: dict[str, dict[str, Any]] = {}
    for text in given:
        name, _, share = text.partition("=")
        version, _, percent = share.rpartition(":")
        try:
            weight = float(percent)
        except ValueError:
            weight = -1.0
        if not (name and version and weight >= 0):
            raise InvalidInput(f"--variant: {text!r} is not NAME=VERSION:PERCENT, for example B=1.1.0:50")
        if name in variants:
            raise InvalidInput(f"--variant: {name!r} is given twice")
        variants[name] = {"version": version, "weight": weight}
    return variants


def _constant(text: str | None) -> Any:
    """What a person means: JSON, or a word that is the class itself."""
    if text is None:
        return None
    try:
        value = json.loads(text)
    except ValueError:
        return text
    if not isinstance(value, dict | str | int | float) or isinstance(value, bool):
        raise InvalidInput(f"--fallback-constant: {text[:80]!r} is no class, number or object with `prediction`")
    return value
