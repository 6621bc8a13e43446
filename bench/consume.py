"""Events per second from a topic to the committed offset: inbox row, domain row, outbox row, one process, SQLite.

Run: `python -m bench.consume [--events N]`. The limit beside it is the database alone, doing the same rows in the same
run.
"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

import sqlalchemy as sa

from bench.machine import describe, table
from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import Label, LabelsObserved
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.inbox import Inbox
from services.kernel.bus.producer import Producer
from services.kernel.bus.record import Record
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.service import Service
from services.kernel.tables import outbox
from tests.probe.app import HANDLERS, ProbeSettings, build, effects
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.broker_jars import ensure_jars, jar_cache
from trimtab.local.ports import free_ports


def event(number: int) -> tuple[bytes, bytes, list[tuple[str, bytes]]]:
    """(key, body, headers) of one event with one label."""
    message = LabelsObserved(model_id=f"m{number % 50}", labels=(Label(prediction_id=f"e{number}", label="a"),))
    content_type, body = encode(message)
    envelope = Envelope(
        id=new_id(),
        source="/bench",
        type=message.TYPE,
        time="2026-01-01T00:00:00Z",  # type: ignore[arg-type]
        subject=message.key,
        content_type=content_type,
    )
    return message.key.encode(), body, to_headers(envelope)


async def fill(settings: ProbeSettings, events: int) -> None:
    """Put the events into the topic."""
    producer = Producer(settings, "bench")
    await producer.start()
    for start in range(0, events, 5_000):
        sent = []
        for number in range(start, min(start + 5_000, events)):
            key, body, headers = event(number)
            sent.append(producer.send("labels", body, key=key, headers=headers))
        await asyncio.gather(*sent)
    await producer.stop()


async def counted(service: Service, what: sa.Select[tuple[int]]) -> int:
    """One number from the service's database."""
    return await service.db.read(lambda connection: connection.execute(what).scalar_one())


async def reached(service: Service, what: sa.Select[tuple[int]], least: int) -> bool:
    """Whether the number is at least `least`."""
    return await counted(service, what) >= least


async def none_left(service: Service, what: sa.Select[tuple[int]]) -> bool:
    """Whether the number is zero."""
    return await counted(service, what) == 0


async def through_the_bus(settings: ProbeSettings, events: int) -> tuple[float, float]:
    """(seconds until every event had its effect, seconds until every outbox row was published)."""
    service = build(settings)
    started = time.perf_counter()
    await service.start()
    done = sa.select(sa.func.count()).select_from(effects)
    waiting = sa.select(sa.func.count()).select_from(outbox).where(outbox.c.published_at.is_(None))
    already = await until(lambda: counted(service, done))
    first = time.perf_counter()
    await until(lambda: reached(service, done, events), 300)
    handled = time.perf_counter()
    await until(lambda: none_left(service, waiting), 60)
    published = time.perf_counter()
    await service.stop()
    print(f"joined the group and handled the first chunk {first - started:.2f} s after the start")
    share = events / (events - already)
    return (handled - first) * share, (published - first) * share


def database_alone(settings: ProbeSettings, events: int) -> float:
    """Seconds for the same rows without Kafka: the limit of this design on this machine."""
    db = Database(f"sqlite:///{settings.data_dir / 'alone.db'}", "probe")
    migrate(db, "tests.probe.migrations")
    inbox = Inbox("probe", "/bench", HANDLERS, db)
    records = []
    for number in range(events):
        key, body, headers = event(number)
        records.append(Record("labels", 0, number, 0, key, body, tuple(headers)))
    size = settings.consume_batch
    started = time.perf_counter()
    for start in range(0, events, size):
        chunk = records[start : start + size]
        db.write_now(lambda connection, chunk=chunk: inbox.handle(connection, chunk))
    seconds = time.perf_counter() - started
    db.close()
    return seconds


def main() -> None:
    """Print the machine, the rates and their ratio."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=20_000)
    events = arguments.parse_args().events
    print(describe())
    with tempfile.TemporaryDirectory() as folder:
        port, controller_port = free_ports(2)
        jars = ensure_jars(jar_cache(Path.home() / ".cache" / "trimtab"))
        broker = LocalBroker(Path(folder) / "kafka", jars=jars, port=port, controller_port=controller_port)
        broker.start()
        try:
            settings = ProbeSettings(kafka_bootstrap=broker.bootstrap, data_dir=Path(folder))
            asyncio.run(apply_topics(settings))
            asyncio.run(fill(settings, events))
            handled, published = asyncio.run(through_the_bus(settings, events))
        finally:
            broker.stop()
        alone = database_alone(settings, events)
    rows = [
        {"what": "topic -> committed offset", "events/s": events / handled, "asked": "3,000"},
        {"what": "topic -> effect published again", "events/s": events / published, "asked": ""},
        {"what": "the inbox and database alone", "events/s": events / alone, "asked": ""},
    ]
    print(table(rows))
    print(f"ratio of the loop to the database alone: {alone / handled:.2f}")
    print(f"one transaction holds {settings.consume_batch} events; the writer thread (Python and SQLite) is the limit")


if __name__ == "__main__":
    main()
