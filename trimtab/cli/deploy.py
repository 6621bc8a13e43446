"""`trimtab deploy`: give a version traffic."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from trimtab.cli.options import ApiKey, AsJson, Url, connected, single, split_reference
from trimtab.cli.output import facts, show, table, when
from trimtab.errors import Unfinished

if TYPE_CHECKING:
    from rich.console import Console

app = single()


@app.command()
def deploy(
    reference: Annotated[str, typer.Argument(help="A model, one version of it, or ID@ALIAS.", metavar="ID[:VERSION]")],
    canary: Annotated[float | None, typer.Option(help="Only this percentage of the traffic.", min=0, max=100)] = None,
    shadow: Annotated[str | None, typer.Option(help="A version that answers beside, unseen.")] = None,
    fallback: Annotated[str | None, typer.Option(help="A version that answers when the other fails.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept with the deployment.")] = "",
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when every replica serves it; status 1 if one can't, or too late.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="With --wait: seconds to wait.", min=0)] = 60.0,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Give a version traffic; without a version, the one in production."""
    model_id, version = split_reference(reference)
    with connected(url, api_key) as client:
        found = client.deploy(model_id, version, canary=canary, shadow=shadow, fallback=fallback, reason=reason or None)
        try:
            if wait:
                found = client.wait_deployed(model_id, timeout_seconds=timeout)
        except Unfinished:
            late = client.deployment(model_id)
            show(late, as_json, lambda console: draw_deployment(console, late))
            raise
    show(found, as_json, lambda console: draw_deployment(console, found))


def draw_deployment(console: "Console", deployment: dict[str, Any]) -> None:
    """A deployment for a person."""
    shares = [f"{route['version']} {route['weight']:g} % ({route['name']})" for route in deployment.get("routes", ())]
    facts(
        console,
        [
            ("model", deployment["model_id"]),
            ("routes", ", ".join(shares) or "none: nothing is served"),
            ("shadow", (deployment.get("shadow") or {}).get("version")),
            ("fallback", (deployment.get("fallback") or {}).get("version")),
            ("revision", deployment.get("revision")),
            ("since", when(deployment.get("since"))),
            ("reason", deployment.get("reason")),
        ],
    )
    rows = [_replica(replica) for replica in deployment.get("replicas", ())]
    if rows:
        table(console, ("replica", "state", "revision", "versions", "why"), rows)


def _replica(replica: dict[str, Any]) -> tuple[Any, ...]:
    versions = [f"{version['version']} {version['state']}" for version in replica["versions"]]
    reasons = [f"{version['version']}: {version['detail']}" for version in replica["versions"] if version.get("detail")]
    return replica["replica"], replica["state"], replica.get("revision"), versions, "; ".join(reasons)
