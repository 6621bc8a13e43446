"""The loop's tables on both databases: a step is made once, a model has one open cycle, a signal is remembered."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.events import DeploymentWanted, LoopStep, Route
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.tables import outbox
from services.kernel.uow import UnitOfWork, Work
from services.loop import tables
from services.loop.cycle import open_cycle, step
from services.loop.tables import Cycle, Signal
from tests.waiting import until_sync

MODEL = "m"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'loop.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def loops(url: str) -> Iterator[tuple[Work, Work]]:
    """Two loops on one migrated database."""
    databases = [Database(url, "loop") for _ in range(2)]
    migrate(databases[0], "services.loop.migrations")
    yield Work(databases[0], "loop"), Work(databases[1], "loop")
    for database in databases:
        database.close()


def begin(uow: UnitOfWork) -> Cycle:
    """The model is deployed and a cycle is open."""
    route = Route(name="main", version="1.0.1", weight=100, artifact="a", manifest_digest="d")
    tables.save_deployment(uow.connection, DeploymentWanted(model_id=MODEL, revision=1, routes=(route,), since=NOW))
    return open_cycle(uow, MODEL, NOW, "drift")


def test_the_migration_makes_the_tables_of_the_code(loops: tuple[Work, Work]) -> None:
    def columns(connection: sa.Connection) -> dict[str, set[str]]:
        found = sa.inspect(connection)
        return {name: {column["name"] for column in found.get_columns(name)} for name in tables.metadata.tables}

    wanted = {name: set(table.columns.keys()) for name, table in tables.metadata.tables.items()}
    assert loops[0].db.read_now(columns) == wanted


async def test_of_two_loops_at_once_one_makes_the_step(loops: tuple[Work, Work]) -> None:
    first, second = loops
    cycle = await first.run(begin)
    stepped = threading.Event()

    def waits(connection: sa.Connection) -> bool:
        return bool(connection.execute(sa.text("SELECT count(*) FROM pg_locks WHERE NOT granted")).scalar())

    def hold(uow: UnitOfWork) -> bool:
        made = step(uow, cycle, LoopStep.GATHERING, "so", cooldown_seconds=0)
        stepped.set()
        if not first.db.is_sqlite:  # there the other could not even begin
            until_sync(lambda: first.db.read_now(waits), 10, "the other loop waits for the row")
        return made

    def follow(uow: UnitOfWork) -> bool:
        return step(uow, cycle, LoopStep.GATHERING, "so", cooldown_seconds=0)

    holding = asyncio.create_task(first.run(hold))
    await asyncio.to_thread(stepped.wait, 10)
    assert [await second.run(follow), await holding] == [False, True]
    sent = first.db.read_now(lambda connection: connection.execute(sa.select(sa.func.count(outbox.c.seq))).scalar())
    assert sent == 2, "noticed and gathering, once each"


async def test_a_model_has_one_open_cycle(loops: tuple[Work, Work]) -> None:
    cycle = await loops[0].run(begin)
    other = replace(cycle, cycle_id="another")
    assert not await loops[1].run(lambda uow: tables.add_cycle(uow.connection, other))


def mark(uow: UnitOfWork, cycle: Cycle) -> bool:
    """Note that a person was told."""
    return tables.mark_alerted(uow.connection, cycle)


async def test_an_alert_is_marked_once_and_only_where_the_cycle_is(loops: tuple[Work, Work]) -> None:
    cycle = await loops[0].run(begin)
    elsewhere = replace(cycle, step=LoopStep.CANARY)
    marks = []
    for work, seen in ((loops[0], elsewhere), (loops[0], cycle), (loops[1], cycle)):
        marks.append(await work.run(partial(mark, cycle=seen)))
    assert marks == [False, True, False]


async def test_a_signal_is_due_when_nothing_holds_it_back(loops: tuple[Work, Work]) -> None:
    work = loops[0]
    signal = Signal("s1", MODEL, "1.0.1", NOW, "drift")

    async def due() -> list[Signal]:
        return await work.db.read(lambda connection: tables.due_signals(connection, NOW))

    await work.run(lambda uow: tables.remember_signal(uow.connection, signal))
    assert await due() == [signal]
    await work.run(lambda uow: tables.set_paused(uow.connection, MODEL, True))
    assert await due() == []
    await work.run(lambda uow: tables.set_paused(uow.connection, MODEL, False))
    await work.run(lambda uow: tables.start_cooldown(uow.connection, MODEL, 1, NOW))
    assert await due() == []
    await work.run(lambda uow: tables.start_cooldown(uow.connection, MODEL, 0, NOW))
    assert not await work.run(lambda uow: tables.forget_signal(uow.connection, MODEL, "s0"))
    assert await due() == [signal]
    assert await work.run(lambda uow: tables.forget_signal(uow.connection, MODEL, "s1"))
    assert await due() == []
