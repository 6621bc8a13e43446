"""`trimtab signers`: whose signatures of model versions are trusted."""

from pathlib import Path
from typing import Annotated

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.options import ApiKey, AsJson, Url, connected, group
from trimtab.cli.output import show, table, when

app = group("Whose signatures of model versions are trusted.")


@app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="Who signs with the key.", metavar="NAME")],
    public_key: Annotated[Path, typer.Option(help="Their public key: PEM, P-256, P-384 or P-521.")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Trust a public key."""
    with connected(url, api_key) as client:
        found = client.trust_signer(name, public_key)
    told = f"signatures of {found['name']} are trusted; key {found['key_sha256']}"
    show(found, as_json, lambda console: console.print(told, markup=False, soft_wrap=True))


@app.command("list")
def list_signers(url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """The trusted keys, and those that were revoked."""
    with connected(url, api_key) as client:
        found = client.signers()
    rows = [
        (each["name"], each["key_sha256"], when(each["trusted_at"]), each["trusted_by"], when(each["revoked_at"]))
        for each in found["signers"]
    ]
    headings = ("name", "key", "trusted", "by", "revoked")
    show(found, as_json, lambda console: table(console, headings, rows, empty="no signers"))


@app.command("revoke")
def revoke(
    signer: Annotated[str, typer.Argument(help="The name, or the key as `list` shows it.", metavar="NAME|KEY")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Trust a key no more, for ever: every signature that it made counts no more."""
    with connected(url, api_key) as client:
        valid = [each for each in client.signers()["signers"] if each["revoked_at"] is None]
        meant = [each for each in valid if signer in (each["name"], each["key_sha256"])]
        if len(meant) > 1:
            raise InvalidInput(f"{signer} has {len(meant)} keys: name the key, as `trimtab signers list` shows it")
        found = client.revoke_signer(meant[0]["key_sha256"] if meant else signer)
    show(found, as_json, lambda console: console.print(f"{signer} is trusted no more", markup=False))
