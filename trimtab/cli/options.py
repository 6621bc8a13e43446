"""The options that every command takes, and what they turn into."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from services.kernel.errors import InvalidInput, Misconfigured, Unavailable

if TYPE_CHECKING:
    from services.kernel.settings import Settings
    from trimtab.client import Client

P = ParamSpec("P")
T = TypeVar("T")

Url = Annotated[
    str | None,
    typer.Option(
        "--url", envvar="TRIMTAB_URL", help="Where Trimtab answers; default 127.0.0.1 and TRIMTAB_SERVING_PORT, 3006."
    ),
]
ApiKey = Annotated[str | None, typer.Option("--api-key", envvar="TRIMTAB_API_KEY", help="The key to show.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Kafka = Annotated[
    str | None,
    typer.Option(
        "--kafka",
        help="Kafka bootstrap servers; default TRIMTAB_KAFKA_BOOTSTRAP, else 127.0.0.1 and TRIMTAB_BROKER_PORT.",
    ),
]


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
    """The settings of the environment, with the given ones instead. Raises `Misconfigured` naming a wrong one.

    Without a `kafka_bootstrap` the broker is the embedded one, at its own port.
    """
    from trimtab.local.settings import LocalSettings

    chosen = checked(LocalSettings, changes)
    if not chosen.embedded_broker:
        return chosen
    return chosen.model_copy(update={"kafka_bootstrap": f"127.0.0.1:{chosen.broker_port}"})


def from_kafka(
    read: "Callable[Concatenate[Settings, P], Awaitable[T]]",
    settings: "Settings",
    *arguments: P.args,
    **named: P.kwargs,
) -> T:
    """What `read(settings, ...)` gives. Raises `Unavailable` saying how to name the right broker."""
    import asyncio

    from trimtab.local import kafka_probe

    remedy = "name the right broker with --kafka or TRIMTAB_KAFKA_BOOTSTRAP"
    bootstrap = settings.kafka_bootstrap
    if settings.kafka_security_protocol == "PLAINTEXT" and not kafka_probe.any_answers(bootstrap):
        raise Unavailable(f"no Kafka answers at {bootstrap}: start it with `trimtab up`, or {remedy}")

    async def run() -> T:
        return await read(settings, *arguments, **named)

    try:
        return asyncio.run(run())
    except Unavailable as error:
        raise Unavailable(f"{error.detail}; if that is another installation's, {remedy}") from error


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


def time_of(option: str, text: str) -> datetime:
    """An ISO 8601 time in UTC; one without an offset is UTC. Raises `InvalidInput` naming the `option`."""
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(f"{option}: {text!r} is not a time such as 2026-01-31T12:00:00Z") from error


def split_reference(reference: str) -> tuple[str, str | None]:
    """`ID[:VERSION]` as (id, version or None); `ID@ALIAS` as (id, `@ALIAS`)."""
    model_id, at, alias = reference.partition("@")
    if at and model_id and alias and ":" not in model_id:
        return model_id, f"@{alias}"
    model_id, colon, version = reference.partition(":")
    if not model_id or (colon and not version):
        raise InvalidInput(f"{reference!r} is not ID, ID:VERSION or ID@ALIAS")
    return model_id, version or None
