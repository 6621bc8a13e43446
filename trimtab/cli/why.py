"""`trimtab why`: the chain of events that led to a version."""

from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, connected, from_kafka, settings, single, split_reference
from trimtab.cli.output import show, timeline

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.chain import Link

app = single()


@app.command()
def why(
    reference: Annotated[
        str,
        typer.Argument(
            help="A model, or one version of it; without one, the version that serves.", metavar="ID[:VERSION]"
        ),
    ],
    kafka: Kafka = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """The events that led to a version, read from Kafka: what caused what, and when.

    Without a version: the one that serves, with the greatest share of the traffic.
    """
    from trimtab.chain import chain_of, read_links
    from trimtab.served import serving_version

    model_id, version = split_reference(reference)
    told = f"{model_id} {version}"
    if version is None:
        with connected(url, api_key) as client:
            version = serving_version(client, model_id)
        told = f"{model_id} {version}, the version that serves"
    elif version.startswith("@"):
        with connected(url, api_key) as client:
            alias, version = version, str(client.version(model_id, version)["version"])
        told = f"{model_id} {version}, {alias}"
    chain = chain_of(from_kafka(read_links, settings(kafka_bootstrap=kafka), model_id), version)
    document = {"model_id": model_id, "version": version, "events": [link.to_json() for link in chain]}
    show(document, as_json, lambda console: draw_chain(console, told, chain))


def draw_chain(console: "Console", told: str, chain: "list[Link]") -> None:
    """A chain for a person under the line `told`: when, what, which event caused it."""
    console.print(told, markup=False, soft_wrap=True)
    numbers = {link.id: number for number, link in enumerate(chain, start=1)}
    rows = []
    for link in chain:
        cause = numbers.get(link.causation_id or "")
        cells = (
            str(numbers[link.id]),
            link.time.strftime("%H:%M:%S.%f")[:-3],
            link.type.removeprefix("trimtab.").removesuffix(".v1"),
            link.body.get("step") or link.body.get("to_stage") or link.body.get("state"),
            f"because of {cause}" if cause else "",
            link.id[:8],
        )
        told = link.body.get("explanation") or link.body.get("comment") or link.body.get("reason") or ""
        rows.append((cells, str(told)))
    timeline(console, ("#", "time", "event", "", "cause", "id"), rows, empty="no events")
