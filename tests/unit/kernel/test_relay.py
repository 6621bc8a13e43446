"""The relay stops when it is told to, whatever happens at that moment."""

import asyncio
from pathlib import Path

import pytest

from services.kernel.bus.outbox import Relay
from services.kernel.bus.producer import Producer
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.settings import Settings
from tests.waiting import until


@pytest.mark.parametrize("turns", range(5))
async def test_it_stops_though_it_is_woken_at_that_moment(tmp_path: Path, turns: int) -> None:
    settings = Settings(data_dir=tmp_path)
    database = Database(f"sqlite:///{tmp_path / 'probe.db'}", "probe")
    await asyncio.to_thread(migrate, database, "tests.probe.migrations")
    relay = Relay(database, Producer(settings, "probe"))
    await relay.start()
    await until(lambda: relay._woken._waiters, what="a relay that waits for rows")
    relay._woken.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await relay.stop()
    database.close()
