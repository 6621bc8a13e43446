"""The options that every command takes, and what they turn into."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from services.kernel.errors import InvalidInput, Misconfigured

if TYPE_CHECKING:
    from services.kernel.settings import Settings
    from trimtab.client import Client

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="TRIMTAB_URL", help="Where Trimtab answers; default http://127.0.0.1:3006."),
]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="TRIMTAB_API_KEY", help="The key to show.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Kafka = Annotated[str | None, typer.Option("--kafka", help="Kafka bootstrap servers; default TRIMTAB_KAFKA_BOOTSTRAP.")]


def group(help: str) -> typer.Typer:
    """A command group in our manner: plain help, no tracebacks of its own."""
    return typer.Typer(
        help=help,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )


def single() -> typer.Typer:
    """An application of one command."""
    return typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@contextmanager
def connected(url: str | None, api_key: str | None, *, timeout_seconds: float = 30.0) -> "Iterator[Client]":
    """A client for the command's options."""
    from trimtab.client import Client

    with Client(url, api_key=api_key, timeout_seconds=timeout_seconds) as client:
        yield client


def settings(**changes: Any) -> "Settings":
    """The settings of the environment, with the given ones instead. Raises `Misconfigured` naming a wrong one."""
    from services.kernel.settings import Settings

    return checked(Settings, changes)


S = TypeVar("S", bound="Settings")


def checked(kind: "type[S]", changes: dict[str, Any]) -> S:
    """`kind(**changes)` without the absent ones. Raises `Misconfigured` naming every wrong setting."""
    from pydantic import ValidationError

    try:
        return kind(**{name: value for name, value in changes.items() if value is not None})
    except ValidationError as error:
        wrong = "; ".join(f"TRIMTAB_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["loc"])
        raise Misconfigured(f"the settings are wrong: {wrong or error}") from error


def read_document(path: Path) -> dict[str, Any]:
    """A JSON or YAML file that holds one object. Raises `InvalidInput` saying what is wrong with it."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text("utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} can't be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is neither JSON nor YAML: {' '.join(str(error).split())[:200]}") from error
    if not isinstance(document, dict):
        raise InvalidInput(f"{path} must hold one JSON or YAML object")
    return document


def split_reference(reference: str) -> tuple[str, str | None]:
    """`ID[:VERSION]` as (id, version or None)."""
    model_id, colon, version = reference.partition(":")
    if not model_id or (colon and not version):
        raise InvalidInput(f"{reference!r} is not ID or ID:VERSION")
    return model_id, version or None
