"""`trimtab models verify|sign|collect`."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.calls import get, part
from trimtab.cli.models.group import ModelId, VersionText, app
from trimtab.cli.options import ApiKey, AsJson, Url, connected
from trimtab.cli.output import show, table, visible

if TYPE_CHECKING:
    from rich.console import Console

    from trimtab.client import Client

PASSWORD = "TRIMTAB_SIGNING_PASSWORD"  # noqa: S105 - the name of a variable
LONG_SECONDS = 3600.0
"""How long one version may take to be read."""
PAGE = 1000


@app.command("verify")
def verify(
    model_id: Annotated[str | None, typer.Argument(help="One model; none: all.", metavar="ID")] = None,
    version: Annotated[str | None, typer.Argument(help="One version; none: all of it.", metavar="VERSION")] = None,
    audit: Annotated[bool, typer.Option("--audit", help="The audit trail only. Without an ID it is included.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Read every byte, check digests and signatures, and the chain of the audit trail. Status 1 if anything is bad.

    With --json one line a version.
    """
    if audit and model_id is not None:
        raise InvalidInput("give either an ID or --audit: the audit trail is that of all models")
    bad = 0
    with connected(url, api_key, timeout_seconds=LONG_SECONDS) as client:
        if not audit:
            found = _versions(client, model_id, version)
            bad += sum(_verified(client, found, as_json))
        if model_id is None:
            bad += _verify_audit(client, as_json)
    raise typer.Exit(1 if bad else 0)


def _versions(client: "Client", model_id: str | None, version: str | None) -> list[tuple[str, str, int]]:
    """(model, version, bytes) of what is to be verified."""
    if model_id is not None and version is not None:
        one = client.version(model_id, version)
        return [(model_id, one["version"], one["size_bytes"])]
    path = "/mlops/versions" if model_id is None else f"/mlops/models/{part(model_id)}"
    found, cursor = [], None
    while True:
        page = client.send(get(path, limit=PAGE, cursor=cursor))
        found += [(each["model_id"], each["version"], each["size_bytes"]) for each in page["versions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def _verified(client: "Client", versions: list[tuple[str, str, int]], as_json: bool) -> Iterator[bool]:
    """Verify them one by one with a bar on standard error; whether each is bad."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=as_json or not console.is_terminal, transient=True
    ) as progress:
        bar = progress.add_task("", total=sum(size for _, _, size in versions))
        for model_id, version, size in versions:
            progress.update(bar, description=f"{model_id} {version}")
            verdict = client.verify(model_id, version)
            progress.advance(bar, size)
            _tell(verdict, as_json)
            yield verdict["state"] == "bad"


def _tell(verdict: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(verdict))
        return
    signed = [each["signer"] for each in verdict["signatures"] if each["state"] == "valid"]
    by = f", signed by {', '.join(signed)}" if signed else ""
    print(visible(f"{verdict['model_id']} {verdict['version']}: {verdict['state']}{by}"))
    for file in verdict["files"]:
        if file["state"] in ("missing", "damaged"):
            print(visible(f"    {file['path']}: {file['state']}: {file['detail']}"))
    for each in verdict["signatures"]:
        if each["state"] in ("invalid", "revoked"):
            print(visible(f"    signature of {each['signer']}: {each['state']}: {each['detail']}"))


def _verify_audit(client: "Client", as_json: bool) -> bool:
    found = client.verify_audit()
    broken_at = found["broken_at"]
    if as_json:
        print(json.dumps({"audit": found}))
    elif broken_at is None:
        print(f"audit trail: ok, {found['rows']} rows")
    else:
        print(f"audit trail: bad: row {broken_at} of {found['rows']} was changed or removed")
    return broken_at is not None


@app.command("sign")
def sign(
    model_id: ModelId,
    version: VersionText,
    private_key: Annotated[
        Path | None, typer.Option(help="An elliptic-curve private key in PEM; it stays on this machine.")
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="A signature that `model_signing sign key` made instead.")] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Sign a version; its signer must be trusted (`trimtab signers add`).

    The password of an encrypted key is read from TRIMTAB_SIGNING_PASSWORD.
    """
    if (private_key is None) == (bundle is None):
        raise InvalidInput("give the key to sign with, --private-key, or a signature that was made before, --bundle")
    with connected(url, api_key) as client:
        if bundle is not None:
            found = client.add_signature(model_id, version, bundle)
        else:
            assert private_key is not None
            found = client.sign(model_id, version, private_key, password=os.environ.get(PASSWORD))
    told = f"{model_id} {found['version']} is signed by {', '.join(found['signed_by'])}"
    show(found, as_json, lambda console: console.print(told, markup=False))


@app.command("collect")
def collect(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would be done, and do nothing.")] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Apply the retention policies, and remove what no version names; the registry does so by itself, too."""
    with connected(url, api_key, timeout_seconds=LONG_SECONDS) as client:
        found = client.collect(dry_run=dry_run)
    show(found, as_json, lambda console: _draw(console, found))


def _draw(console: "Console", found: dict[str, Any]) -> None:
    would = "would be " if found["dry_run"] else ""
    if found["dropped"]:
        rows = [(each["model_id"], each["version"], each["size_bytes"]) for each in found["dropped"]]
        console.print(f"the files of these archived versions {would or 'were '}given up", markup=False)
        table(console, ("model", "version", "bytes"), rows)
    for what, verb in (("condemned", "condemned, to be removed a grace later"), ("removed", "removed")):
        count, size = found[what], found[f"{what}_bytes"]
        console.print(f"{count} objects of {size} bytes {would}{verb}", markup=False)
    console.print(f"{found['waiting']} objects of {found['waiting_bytes']} bytes wait to be removed", markup=False)
    if found["keys"]:
        table(console, ("named by nobody",), [(key,) for key in found["keys"]])
