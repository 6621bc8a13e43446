"""`trimtab rollback`: back to what was deployed before."""

from typing import Annotated

import typer

from trimtab.cli.deployment_view import draw_deployment
from trimtab.cli.options import ApiKey, AsJson, Url, connected, single
from trimtab.cli.output import show

app = single()


@app.command()
def rollback(
    model_id: Annotated[str, typer.Argument(help="The model's id.", metavar="ID")],
    reason: Annotated[str, typer.Option(help="Why; kept with the deployment.")] = "",
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Back to what was deployed before."""
    with connected(url, api_key) as client:
        found = client.rollback(model_id, reason=reason)
    show(found, as_json, lambda console: draw_deployment(console, found))
