"""One suite for both databases: transactions, outbox, revisions, leases, idempotency, migration."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.events import Alert
from services.kernel import idempotency, lease
from services.kernel.db import MOST_TOGETHER, Database, DatabaseUnavailable, take_all_the_time, unread
from services.kernel.errors import Conflict
from services.kernel.migrate import migrate
from services.kernel.tables import leases, metadata, outbox
from services.kernel.uow import UnitOfWork, Work
from tests.probe.app import effects


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'probe.db'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def db(url: str) -> Iterator[Database]:
    """A migrated database."""
    database = Database(url, "probe")
    migrate(database, "tests.probe.migrations")
    yield database
    database.close()


class TestWritesAtOnce:
    """Writes that wait together share a commit, and nothing else."""

    @staticmethod
    async def at_once(db: Database, *fns: Callable[[sa.Connection], Any]) -> list[Any]:
        """Run `fns` while the writer thread is held up, so that they all wait when it comes free."""
        started, go = threading.Event(), threading.Event()

        def hold(_: sa.Connection) -> None:
            started.set()
            assert go.wait(30)

        holding = asyncio.ensure_future(db.write(hold))
        assert await asyncio.to_thread(started.wait, 30)
        waiting = [asyncio.ensure_future(db.write(fn)) for fn in fns]
        await asyncio.sleep(0)
        go.set()
        await holding
        return await asyncio.gather(*waiting, return_exceptions=True)

    @staticmethod
    def insert(name: str) -> Callable[[sa.Connection], str]:
        def fn(connection: sa.Connection) -> str:
            connection.execute(sa.insert(effects).values(prediction_id=name))
            return name

        return fn

    async def test_each_gets_its_own_answer_in_order(self, db: Database) -> None:
        names = [f"{number:03d}" for number in range(120)]
        assert await self.at_once(db, *map(self.insert, names)) == names
        rows = await db.read(lambda c: c.execute(sa.select(effects.c.prediction_id)).scalars().all())
        assert sorted(rows) == names

    async def test_they_share_commits_on_sqlite(self, db: Database) -> None:
        commits = []
        sa.event.listen(db._write_engine, "commit", lambda _: commits.append(1))
        await self.at_once(db, *(self.insert(str(number)) for number in range(100)))
        assert len(commits) == (1 + 100 / MOST_TOGETHER if db.is_sqlite else 101)

    async def test_one_that_fails_takes_nothing_of_the_others_with_it(self, db: Database) -> None:
        def half(connection: sa.Connection) -> None:
            self.insert("half")(connection)
            raise Conflict("no")

        first, failed, refused, last = await self.at_once(
            db,
            self.insert("a"),
            half,
            lambda c: c.execute(sa.insert(effects).values(prediction_id=None)),
            self.insert("c"),
        )
        assert (first, last) == ("a", "c")
        assert isinstance(failed, Conflict)
        assert isinstance(refused, sa.exc.IntegrityError)
        rows = await db.read(lambda c: c.execute(sa.select(effects.c.prediction_id)).scalars().all())
        assert sorted(rows) == ["a", "c"]

    async def test_a_failing_database_fails_all_that_shared_the_commit(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path / 'small.db'}", "probe")
        migrate(database, "tests.probe.migrations")
        pages = await database.read(lambda c: c.exec_driver_sql("PRAGMA page_count").scalar_one())
        await database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count={pages}").scalar_one())
        answers = await self.at_once(database, self.insert("a"), self.insert("b" * 1_000_000), self.insert("c"))
        assert [type(answer) for answer in answers] == [DatabaseUnavailable] * 3
        rows = await database.read(lambda c: c.execute(sa.select(effects)).all())
        assert rows == []
        await database.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count=1000000").scalar_one())
        assert await database.write(self.insert("after")) == "after"
        database.close()

    async def test_a_cancelled_write_that_waits_is_not_made(self, db: Database) -> None:
        started, go = threading.Event(), threading.Event()

        def hold(_: sa.Connection) -> None:
            started.set()
            assert go.wait(30)

        holding = asyncio.ensure_future(db.write(hold))
        assert await asyncio.to_thread(started.wait, 30)
        waiting = asyncio.ensure_future(db.write(self.insert("cancelled")))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        go.set()
        await holding
        assert await db.write(self.insert("next")) == "next"
        rows = await db.read(lambda c: c.execute(sa.select(effects.c.prediction_id)).scalars().all())
        assert list(rows) == ["next"]

    def test_a_closed_database_takes_no_write(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path / 'closed.db'}", "probe")
        database.close()
        with pytest.raises(RuntimeError):
            database.write_now(lambda c: c.exec_driver_sql("SELECT 1").scalar_one())


@pytest.mark.parametrize("within", [nullcontext, unread], ids=["between statements", "in a pipeline"])
async def test_a_process_that_is_stopped_inside_a_transaction_holds_up_nobody_for_ever(
    postgres_url: str, within: Callable[[sa.Connection], AbstractContextManager[object]]
) -> None:
    stopped, other = Database(postgres_url, "probe", idle_seconds=0.5), Database(postgres_url, "probe")
    migrate(other, "tests.probe.migrations")
    await other.write(lambda c: c.execute(sa.insert(effects).values(prediction_id="row")))
    holds, go = threading.Event(), threading.Event()

    def update(connection: sa.Connection) -> None:
        connection.execute(sa.update(effects).values(prediction_id=sa.func.lower(effects.c.prediction_id)))

    def sleep(connection: sa.Connection) -> None:
        update(connection)
        with within(connection):
            update(connection)
            holds.set()
            assert go.wait(30)
            update(connection)

    sleeping = asyncio.ensure_future(stopped.write(sleep))
    assert await asyncio.to_thread(holds.wait, 30)
    async with asyncio.timeout(20):
        await other.write(update)
    go.set()
    with pytest.raises(DatabaseUnavailable):
        await sleeping
    await stopped.write(update)
    stopped.close()
    other.close()


def alert(number: int = 1) -> Alert:
    return Alert(alert_id=f"a{number}", model_id="m", state="raised", severity="info", title="t", detail="d")


async def test_a_migration_may_take_its_time(postgres_url: str) -> None:
    database = Database(postgres_url, "probe", idle_seconds=0.2)

    def slow(connection: sa.Connection) -> int:
        take_all_the_time(connection)
        connection.execute(sa.select(sa.func.pg_sleep(1.0)))
        threading.Event().wait(0.5)
        return int(connection.execute(sa.text("SELECT 1")).scalar_one())

    assert await database.write(slow) == 1
    with pytest.raises(DatabaseUnavailable):
        await database.write(lambda c: c.execute(sa.select(sa.func.pg_sleep(1.0))))
    database.close()


class TestUnread:
    """Statements whose answers nobody waits for."""

    @staticmethod
    def insert(*names: str | None) -> Callable[[sa.Connection], None]:
        def fn(connection: sa.Connection) -> None:
            with unread(connection):
                for name in names:
                    connection.execute(sa.insert(effects).values(prediction_id=name))

        return fn

    @staticmethod
    async def names(db: Database) -> list[str]:
        return list(await db.read(lambda c: c.execute(sa.select(effects.c.prediction_id)).scalars()))

    async def test_they_take_effect_in_order_with_what_stands_around_them(self, db: Database) -> None:
        def fn(connection: sa.Connection) -> list[str]:
            connection.execute(sa.insert(effects).values(prediction_id="before"))
            self.insert("first", "second")(connection)
            connection.execute(sa.update(effects).values(prediction_id=effects.c.prediction_id + "!"))
            return list(connection.execute(sa.select(effects.c.prediction_id).order_by("prediction_id")).scalars())

        assert await db.write(fn) == ["before!", "first!", "second!"]

    async def test_one_that_fails_fails_them_all_and_the_next_write_is_made(self, db: Database) -> None:
        with pytest.raises(sa.exc.IntegrityError):
            await db.write(self.insert("first", None, "last"))
        assert await self.names(db) == []
        await db.write(self.insert("next"))
        assert await self.names(db) == ["next"]

    async def test_a_connection_that_is_cut_is_the_databases_fault(self, postgres_url: str) -> None:
        database, other = Database(postgres_url, "probe"), Database(postgres_url, "other")
        migrate(database, "tests.probe.migrations")

        def fn(connection: sa.Connection) -> None:
            backend = connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one()
            with unread(connection):
                other.read_now(lambda c: c.execute(sa.select(sa.func.pg_terminate_backend(backend))).scalar_one())
                connection.execute(sa.insert(effects).values(prediction_id="lost"))

        with pytest.raises(DatabaseUnavailable):
            await database.write(fn)
        await database.write(self.insert("next"))
        assert await self.names(database) == ["next"]
        database.close()
        other.close()


def test_migrating_twice_changes_nothing_and_tables_are_those_of_the_code(db: Database) -> None:
    migrate(db, "tests.probe.migrations")
    names = db.read_now(lambda connection: set(sa.inspect(connection).get_table_names()))
    assert names >= {table.name for table in metadata.sorted_tables} | {"effects"}


def test_two_processes_may_migrate_at_once(url: str) -> None:
    databases = [Database(url, "probe") for _ in range(4)]
    threads = [threading.Thread(target=migrate, args=(db, "tests.probe.migrations")) for db in databases]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = databases[0].read_now(lambda c: c.execute(sa.text("SELECT version_num FROM alembic_version")).all())
    assert [tuple(row) for row in found] == [("0001",)]
    for database in databases:
        database.close()


async def test_a_change_and_its_events_are_one_transaction(db: Database) -> None:
    work = Work(db, "probe")

    def change(uow: UnitOfWork) -> None:
        uow.connection.execute(sa.insert(effects).values(prediction_id="x"))
        uow.publish(alert())

    def fails(uow: UnitOfWork) -> None:
        change(uow)
        raise Conflict("no")

    await work.run(change)
    with pytest.raises(Conflict):
        await work.run(fails)
    counted = await db.read(
        lambda c: [c.execute(sa.select(sa.func.count()).select_from(t)).scalar_one() for t in (effects, outbox)]
    )
    assert counted == [1, 1]


async def test_revisions_count_up_without_gap_or_repeat(db: Database) -> None:
    work = Work(db, "probe")
    allotted = await asyncio.gather(*(work.run(lambda uow: uow.next_revision("model", "m")) for _ in range(40)))
    assert sorted(allotted) == list(range(1, 41))
    assert await work.run(lambda uow: uow.next_revision("model", "other")) == 1


def test_a_lease_has_one_holder_and_a_zombie_is_told_by_its_epoch(db: Database) -> None:
    now = [1000.0]

    def take(holder: str) -> int | None:
        return db.write_now(lambda c: lease.acquire(c, "job", holder, 10, lambda: now[0]))

    assert take("a") == 1
    assert take("b") is None
    assert take("a") == 1
    now[0] = 1011
    assert take("b") == 2
    assert take("a") is None
    db.write_now(lambda c: lease.release(c, "job", "b"))
    assert take("a") == 3


def test_a_lease_with_time_to_spare_is_not_written(db: Database) -> None:
    def take(now: float) -> float:
        epoch = db.write_now(lambda c: lease.acquire(c, "job", "a", 10, lambda: now, spare_seconds=5))
        assert epoch == 1
        expires_at = db.read_now(lambda c: c.execute(sa.select(leases.c.expires_at)).scalar_one())
        return float(expires_at)

    assert take(1000) == 1010
    assert take(1004) == 1010
    assert take(1005) == 1015
    assert take(900) == 910  # the clock was set back: not held for longer than it says


def test_a_lease_that_many_ask_for_at_once_goes_to_one(url: str) -> None:
    databases = [Database(url, "probe") for _ in range(4)]
    migrate(databases[0], "tests.probe.migrations")
    got: list[int | None] = []

    def take(database: Database, holder: str) -> None:
        got.append(database.write_now(lambda c: lease.acquire(c, "relay", holder, 10)))

    threads = [threading.Thread(target=take, args=(db, f"h{number}")) for number, db in enumerate(databases)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got, key=str) == [1, None, None, None]
    for database in databases:
        database.close()


def test_an_idempotency_key_recalls_its_answer_and_refuses_another_request(db: Database) -> None:
    first = idempotency.digest({"a": 1, "b": 2})
    assert first == idempotency.digest({"b": 2, "a": 1})
    db.write_now(lambda c: idempotency.remember(c, "train", "k", first, 202, {"job_id": "j"}))
    assert db.read_now(lambda c: idempotency.recall(c, "train", "k", first)) == (202, {"job_id": "j"})
    assert db.read_now(lambda c: idempotency.recall(c, "train", None, first)) is None
    assert db.read_now(lambda c: idempotency.recall(c, "other", "k", first)) is None
    with pytest.raises(Conflict, match="another request"):
        db.read_now(lambda c: idempotency.recall(c, "train", "k", idempotency.digest({"a": 2})))
