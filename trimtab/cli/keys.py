"""`trimtab keys`: API keys."""

from typing import Annotated

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.options import ApiKey, AsJson, Url, connected, group, settings
from trimtab.cli.output import show, table, when

app = group("Create, list and revoke API keys.")

SCOPES = ("predict", "read", "write", "deploy", "approve", "admin")


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "admin",
    scope: Annotated[list[str] | None, typer.Option(help=f"What it may do: {', '.join(SCOPES)}. Repeatable.")] = None,
    model_prefix: Annotated[list[str] | None, typer.Option(help="Only models that begin so. Repeatable.")] = None,
    admin: Annotated[
        bool,
        typer.Option("--admin", help="An admin key, made in the registry's database itself: the first key of all."),
    ] = False,
    if_none: Annotated[
        bool, typer.Option("--if-none", help="With --admin: only if there is no key at all yet.")
    ] = False,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key. It is shown this once and kept nowhere."""
    if admin:
        document = _create_directly(name, if_none)
        if document is None:
            show({"created": False}, as_json, lambda console: console.print("there are keys already", markup=False))
            return
    else:
        if not scope:
            raise InvalidInput(f"name what the key may do: --scope, one of {', '.join(SCOPES)}")
        with connected(url, api_key) as client:
            document = client.create_key(name, scope, model_prefixes=model_prefix or ())
    show(document, as_json, lambda console: console.print(document["key"], markup=False, soft_wrap=True))


def _create_directly(name: str, if_none: bool) -> dict[str, object] | None:
    from schemas.events import Scope
    from services.registry.keys import create_directly, create_first
    from trimtab.local.errors import LocalError

    chosen = settings()
    try:
        created = (create_first if if_none else create_directly)(chosen, name, [Scope.ADMIN])
    except OSError as error:
        raise LocalError(
            f"{error.filename or chosen.data_dir} can't be used ({error.strerror or error}): set TRIMTAB_DATA_DIR to"
            " the folder of the registry's database"
        ) from error
    if created is None:
        return None
    key_id, key = created
    return {"key_id": key_id, "key": key, "name": name, "scopes": ["admin"]}


@app.command("list")
def list_keys(url: Url = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """The keys, without their secrets."""
    with connected(url, api_key) as client:
        found = client.keys()
    rows = [
        (
            key["key_id"],
            key["name"],
            key["scopes"],
            key["model_prefixes"] or "all models",
            when(key["created_at"]),
            when(key.get("revoked_at")),
        )
        for key in found["keys"]
    ]
    headings = ("id", "name", "scopes", "models", "created", "revoked")
    show(found, as_json, lambda console: table(console, headings, rows, empty="no keys"))


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(help="The key's id.", metavar="KEY_ID")],
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a key void, everywhere, at once."""
    with connected(url, api_key) as client:
        found = client.revoke_key(key_id)
    show(found, as_json, lambda console: console.print(f"{key_id} is void", markup=False))
