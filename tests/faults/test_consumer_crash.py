"""Kill -9 of a consumer at every point around its transaction: one effect per event, none skipped.

The probe runs as a real process against the real broker; a fail point kills it; a second life finishes the work.
"""

import asyncio
import os
import signal
import sqlite3
import sys
from pathlib import Path

import pytest

from schemas.events import Label, LabelsObserved
from services.kernel.bus.admin import apply_topics
from services.kernel.bus.producer import Producer
from services.kernel.bus.tail import read_to_end
from services.kernel.leash import leashed
from services.kernel.settings import Settings
from tests.waiting import until
from trimtab.local.broker import LocalBroker
from trimtab.local.ports import free_ports

EVENTS = 200
POINTS = ("consume-in-transaction:3", "consume-after-commit:3", "consume-before-commit:1", "relay-after-produce:1")
"""Before the commit of the transaction, after it, before the offset's commit, between publishing and marking."""


async def start(settings: Settings, port: int, failpoints: str) -> asyncio.subprocess.Process:
    """One life of the probe."""
    environment = os.environ | {
        "TRIMTAB_KAFKA_BOOTSTRAP": settings.kafka_bootstrap,
        "TRIMTAB_TOPIC_PREFIX": settings.topic_prefix,
        "TRIMTAB_DATA_DIR": str(settings.data_dir),
        "TRIMTAB_PROBE_PORT": str(port),
        "TRIMTAB_SESSION_TIMEOUT_SECONDS": "6",
        "TRIMTAB_CONSUME_BATCH": "20",
        "TRIMTAB_FAILPOINTS": failpoints,
    }
    command = leashed([sys.executable, "-m", "tests.probe"])
    return await asyncio.create_subprocess_exec(*command, env=environment, stderr=asyncio.subprocess.DEVNULL)


def effects(settings: Settings) -> list[str]:
    """What the probe has done, straight from its database file."""
    file = settings.data_dir / "probe.db"
    if not file.exists():
        return []
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        return [row[0] for row in connection.execute("SELECT prediction_id FROM effects")]
    except sqlite3.OperationalError:  # the first life died before its migration
        return []
    finally:
        connection.close()


async def alerts(settings: Settings) -> set[str]:
    """The ids of the alerts that reached the topic."""
    found = set()
    async for record in read_to_end(settings, "alerts"):
        found.add(str(record.message()[1].model_dump()["alert_id"]))
    return found


@pytest.mark.parametrize("point", POINTS)
async def test_one_effect_per_event_across_a_kill(
    broker: LocalBroker, topic_prefix: str, tmp_path: Path, point: str
) -> None:
    settings = Settings(
        kafka_bootstrap=broker.bootstrap, topic_prefix=topic_prefix, topic_partitions=2, data_dir=tmp_path
    )
    await apply_topics(settings)
    producer = Producer(settings, "test")
    await producer.start()
    for number in range(EVENTS):
        message = LabelsObserved(model_id=f"m{number % 7}", labels=(Label(prediction_id=f"e{number}", label="a"),))
        await producer.send("labels", message.model_dump_json().encode(), key=message.key.encode())
    await producer.stop()
    (port,) = free_ports(1)
    first = await start(settings, port, point)
    assert await asyncio.wait_for(first.wait(), 60) == -signal.SIGKILL
    if point.startswith(("consume-in", "consume-after")):
        assert 0 < len(effects(settings)) < EVENTS, "the first life was meant to die half-way"
    second = await start(settings, port, "")
    try:
        await until(lambda: len(effects(settings)) >= EVENTS, timeout_seconds=60, what="every event handled")
        wanted = {f"e{number}" for number in range(EVENTS)}
        await until(lambda: _equal(settings, wanted), timeout_seconds=30, what="every alert published")
    finally:
        second.terminate()
        await second.wait()
    done = effects(settings)
    assert len(done) == len(set(done)) == EVENTS


async def _equal(settings: Settings, wanted: set[str]) -> bool:
    return await alerts(settings) == wanted
