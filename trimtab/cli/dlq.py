"""`trimtab dlq`: dead letters."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.kernel.errors import InvalidInput
from trimtab.cli.options import ApiKey, AsJson, Kafka, Url, from_kafka, group, settings
from trimtab.cli.output import facts, show, table

if TYPE_CHECKING:
    from services.kernel.bus.dead_letters import DeadLetter
    from services.kernel.bus.producer import Producer
    from services.kernel.settings import Settings

app = group("Look at dead letters; replay, drop or step over them.")

Address = Annotated[str, typer.Argument(help="Its address, TOPIC/OFFSET, as `dlq list` shows it.", metavar="LETTER")]


@app.command("list")
def list_letters(
    topic: Annotated[str | None, typer.Argument(help="Of this topic only.", metavar="TOPIC")] = None,
    kafka: Kafka = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Every dead letter: where it came from and why it died."""
    from schemas.topics import BY_NAME

    if topic is not None and topic not in BY_NAME:
        raise InvalidInput(f"there is no topic {topic!r}; there are {', '.join(BY_NAME)}")
    letters = from_kafka(_all, settings(kafka_bootstrap=kafka), topic)
    document = {"letters": [_describe(letter) for letter in letters]}
    rows = [
        (letter.letter, letter.at.strftime("%Y-%m-%d %H:%M:%S"), letter.group, letter.error, letter.detail[:120])
        for letter in letters
    ]
    headings = ("letter", "died", "group", "error", "detail")
    show(document, as_json, lambda console: table(console, headings, rows, empty="no dead letters"))


@app.command("show")
def show_letter(
    letter: Address, kafka: Kafka = None, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """One dead letter with its headers and body."""
    from services.kernel.bus.dead_letters import find

    found = from_kafka(find, settings(kafka_bootstrap=kafka), letter)
    document = _describe(found)
    show(document, as_json, lambda console: facts(console, list(document.items())))


@app.command("replay")
def replay(
    letter: Address, kafka: Kafka = None, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Send it to its topic again, for the consumer group that failed only."""
    offset = from_kafka(_replay, settings(kafka_bootstrap=kafka), letter)
    document = {"letter": letter, "replayed_at_offset": offset}
    show(document, as_json, lambda console: console.print(f"{letter} was sent again, offset {offset}", markup=False))


@app.command("drop")
def drop(
    letter: Address, kafka: Kafka = None, url: Url = None, api_key: ApiKey = None, as_json: AsJson = False
) -> None:
    """Take it off the list for good, without handling it."""
    from_kafka(_drop, settings(kafka_bootstrap=kafka), letter)
    document = {"letter": letter, "dropped": True}
    show(document, as_json, lambda console: console.print(f"{letter} is dropped", markup=False))


@app.command("skip")
def skip(
    topic: Annotated[str, typer.Argument(help="The topic of the unreadable record.", metavar="TOPIC")],
    partition: Annotated[int, typer.Argument(help="Its partition.", metavar="PARTITION")],
    offset: Annotated[int, typer.Argument(help="Its offset.", metavar="OFFSET")],
    service: Annotated[
        str | None, typer.Option(help="The service whose consumer it stops; none: all that consume the topic.")
    ] = None,
    url: Url = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Step over a record that can't even be fetched and has stopped its partition."""
    skipped = _skip(settings(), topic, partition, offset, service, api_key)
    document = {"topic": topic, "partition": partition, "offset": offset, "services": skipped}
    show(
        document,
        as_json,
        lambda console: console.print(
            f"{topic}/{partition}/{offset} is stepped over by {', '.join(skipped)}", markup=False
        ),
    )


def _describe(letter: "DeadLetter") -> dict[str, Any]:
    return {
        "letter": letter.letter,
        "origin": f"{letter.topic}/{letter.partition}/{letter.offset}",
        "group": letter.group,
        "error": letter.error,
        "detail": letter.detail,
        "at": letter.at.isoformat(),
        "key": (letter.key or b"").decode(errors="backslashreplace"),
        "headers": {name: (value or b"").decode(errors="backslashreplace") for name, value in letter.headers},
        "body": letter.preview(),
    }


async def _all(settings: "Settings", topic: str | None) -> "list[DeadLetter]":
    from services.kernel.bus.dead_letters import letters

    return [letter async for letter in letters(settings, topic)]


async def _replay(settings: "Settings", address: str) -> int:
    from services.kernel.bus.dead_letters import find, replay

    letter = await find(settings, address)
    async with _producing(settings) as producer:
        return await replay(producer, letter)


async def _drop(settings: "Settings", address: str) -> None:
    from services.kernel.bus.dead_letters import drop, find

    letter = await find(settings, address)
    async with _producing(settings) as producer:
        await drop(producer, letter)


@asynccontextmanager
async def _producing(settings: "Settings") -> "AsyncIterator[Producer]":
    from services.kernel.bus.producer import Producer

    producer = Producer(settings, "trimtab-cli")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


def _skip(
    settings: "Settings", topic: str, partition: int, offset: int, service: str | None, api_key: str | None
) -> list[str]:
    from services.kernel.errors import NotFound, Unavailable
    from services.kernel.settings import SERVICES
    from trimtab.calls import Call
    from trimtab.client import Client

    if service is not None and service not in SERVICES:
        raise InvalidInput(f"there is no service {service!r}; there are {', '.join(SERVICES)}")
    skipped, silent = [], []
    call = Call("POST", f"/internal/skip/{topic}/{partition}/{offset}")
    for name in (service,) if service else SERVICES:
        with Client(settings.url_of(name), api_key=api_key) as client:
            try:
                client.send(call)
            except NotFound:
                continue
            except Unavailable as error:
                silent.append(error.detail)
                continue
        skipped.append(name)
    if not skipped:
        raise NotFound("; ".join(silent) or f"no service consumes {topic}/{partition}")
    return skipped
