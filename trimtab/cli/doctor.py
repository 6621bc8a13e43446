"""`trimtab doctor`: every dependency, what was found, what is wrong, how to mend it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, checked, single
from trimtab.cli.output import show

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.local.diagnosis import Finding

app = single()

SIGNS = {"good": ("ok", "green"), "idle": ("--", "dim"), "wrong": ("WRONG", "bold red")}


@app.command()
def doctor(
    data_dir: Annotated[Path | None, typer.Option(help="Folder of all state; default .trimtab.")] = None,
    kafka: Kafka = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Look at every dependency and change nothing. Exit status 1 if something is wrong."""
    from urllib.parse import urlsplit

    from trimtab.local.diagnosis import diagnose
    from trimtab.local.settings import LocalSettings

    changes: dict[str, object] = {"data_dir": data_dir, "kafka_bootstrap": kafka}
    if url is not None:
        parts = urlsplit(url)
        changes |= {"serving_url": url, "serving_port": parts.port}
    findings = asyncio.run(diagnose(checked(LocalSettings, changes)))
    healthy = all(finding.state != "wrong" for finding in findings)
    document = {"healthy": healthy, "findings": [vars(finding) for finding in findings]}
    show(document, as_json, lambda console: _draw(console, findings))
    if not healthy:
        raise typer.Exit(1)


def _draw(console: "Console", findings: "list[Finding]") -> None:
    from rich.text import Text

    for finding in findings:
        sign, style = SIGNS[finding.state]
        console.print(Text(f"{sign:<6}", style) + Text(f"{finding.name:<11} {finding.found}"), soft_wrap=True)
        if finding.remedy:
            console.print(Text(f"{'':<18}{finding.remedy}", "bold"), soft_wrap=True)
