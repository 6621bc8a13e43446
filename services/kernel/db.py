"""The one synchronous database path: every write of a process goes through one writer thread.

SQLite (WAL, synchronous=FULL) by default, PostgreSQL by URL. A write is `fn(connection)` inside one transaction that
begins IMMEDIATE, so two writers queue instead of failing. What waits while one commits shares the next commit, so that
the disk is flushed once for many (group commit). Reads run beside it on a small pool of threads. On PostgreSQL
each service has a schema of its own, so one URL serves all of them.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from services.kernel.errors import Unavailable

T = TypeVar("T")

READERS = 4
"""Threads, and connections, that read."""
BUSY_SECONDS = 30
"""How long a writer waits for another process's lock."""
IDLE_SECONDS = 10.0
"""How long a writer of PostgreSQL may pause inside a transaction: a process that is stopped there holds locks.

SQLite has nobody who could end such a transaction."""
WHOLE_FACTOR = 3
"""A whole transaction of a writer may take so many times that long, where PostgreSQL (from 17 on) can tell: it does not
call a transaction idle that stops among statements of a pipeline."""
MOST_TOGETHER = 50
"""Writes that share one commit on SQLite, at most."""


def insert_into(connection: sa.Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT into `table` that knows ON CONFLICT in the dialect of `connection`."""
    return insert_in(connection.dialect.name, table)


def insert_in(dialect: str, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    """An INSERT into `table` that knows ON CONFLICT in SQLAlchemy's `dialect`."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


@contextmanager
def unread(connection: sa.Connection) -> Iterator[None]:
    """Statements inside tell nothing that is read: PostgreSQL gets them without waiting for each one's answer.

    What one of them fails with is raised at the latest at the end. SQLite has no way to go.

    Keep it short: until the end PostgreSQL sees no idle transaction, so `IDLE_SECONDS` ends none that stops inside, but
    (from 17 on) `WHOLE_FACTOR` times that the whole one.
    """
    if connection.dialect.name == "sqlite":
        yield
        return
    dbapi = connection.dialect.loaded_dbapi
    try:
        with connection.connection.driver_connection.pipeline():  # type: ignore[union-attr]
            yield
    except dbapi.Error as error:
        raise DBAPIError.instance(None, None, error, dbapi.Error, dialect=connection.dialect) from error


def take_all_the_time(connection: sa.Connection) -> None:
    """Let this transaction take and wait as long as it needs: it migrates or restores, beside which nobody works."""
    if connection.dialect.name == "sqlite":
        return
    limits = ["idle_in_transaction_session_timeout", "lock_timeout"]
    if _can_bound(connection.connection.driver_connection):
        limits.append("transaction_timeout")
    for limit in limits:
        connection.exec_driver_sql(f"SET LOCAL {limit} = 0")


class DatabaseUnavailable(Unavailable):
    """The database does not answer, or stays locked. Never a message's fault: waited out without bound."""

    code = "database-unavailable"


class Database:
    """A service's own database. Connects at first use; thread-safe.

    `schema` names the service: the PostgreSQL schema, and the label in errors.
    """

    def __init__(self, url: str, schema: str, *, idle_seconds: float = IDLE_SECONDS) -> None:
        self._idle_seconds = idle_seconds
        self.url = url
        self.schema = schema
        self.is_sqlite = url.startswith("sqlite")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix=f"{schema}-db-writer")
        self._waiting: deque[_Write] = deque()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"{schema}-db-reader")
        self._write_engine = self._engine(pool_size=1, immediate=True)
        self._read_engine = self._engine(pool_size=READERS, immediate=False)

    async def write(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` on the writer thread, all of it or nothing; raises what `fn` raises, or `DatabaseUnavailable`.

        It returns when the change is on the disk. On SQLite writes that wait at the same moment share one commit.
        """
        answer: T = await asyncio.wrap_future(self._enqueue(fn))
        return answer

    async def read(self, fn: Callable[[sa.Connection], T]) -> T:
        """Run `fn` on a reader thread. It sees every write committed before."""
        context = copy_context()  # the current span and cause go with the work to its thread
        return await asyncio.get_running_loop().run_in_executor(
            self._readers, context.run, self._transaction, self._read_engine, fn
        )

    def write_now(self, fn: Callable[[sa.Connection], T]) -> T:
        """`write` for threads without an event loop."""
        answer: T = self._enqueue(fn).result()
        return answer

    def read_now(self, fn: Callable[[sa.Connection], T]) -> T:
        """`read` for threads without an event loop."""
        return self._readers.submit(self._transaction, self._read_engine, fn).result()

    def close(self) -> None:
        """Wait for running transactions and close every connection."""
        self._writer.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._write_engine.dispose()
        self._read_engine.dispose()

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Turn the driver's connection and lock errors into `DatabaseUnavailable`."""
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailable(f"the database of {self.schema} does not answer: {error.orig}") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseUnavailable(f"the database of {self.schema} closed the connection") from error
            raise

    def _enqueue(self, fn: Callable[[sa.Connection], Any]) -> "Future[Any]":
        write = _Write(fn)
        self._waiting.append(write)
        try:
            self._writer.submit(self._write_waiting)
        except RuntimeError:  # closed
            self._waiting.remove(write)
            raise
        return write.answer

    def _write_waiting(self) -> None:
        """Run the writes that wait in one transaction, and answer each of them once it is committed.

        One alone has the transaction for itself. Of several each has a savepoint, so that one that fails takes nothing
        of the others with it; but when the database itself fails, none of them has happened and all hear of it.
        On PostgreSQL a write is always alone: several registries would wait for each other's rows in circles.
        """
        together: list[_Write] = []
        while self._waiting and len(together) < (MOST_TOGETHER if self.is_sqlite else 1):
            write = self._waiting.popleft()
            if write.answer.set_running_or_notify_cancel():
                together.append(write)
        try:
            if len(together) == 1:
                together[0].result = together[0].context.run(self._transaction, self._write_engine, together[0].fn)
            elif together:
                self._transaction(self._write_engine, lambda connection: _run_each(connection, together))
        except Exception as error:  # noqa: BLE001 - it is the callers', who get it
            for write in together:
                write.answer.set_exception(error)
            return
        for write in together:
            write.say()

    def _bound_transactions(self, connection: Any, _record: Any) -> None:
        if _can_bound(connection):
            connection.execute(f"SET transaction_timeout = {WHOLE_FACTOR * self._idle_seconds * 1000:.0f}")
            connection.commit()

    def _transaction(self, engine: sa.Engine, fn: Callable[[sa.Connection], T]) -> T:
        with self.translated(), engine.begin() as connection:
            return fn(connection)

    def _engine(self, *, pool_size: int, immediate: bool) -> sa.Engine:
        if not self.is_sqlite:
            options: dict[str, object] = {"search_path": self.schema}
            if immediate:
                options["idle_in_transaction_session_timeout"] = f"{self._idle_seconds * 1000:.0f}"
                options["lock_timeout"] = f"{BUSY_SECONDS * 1000}"
            said = " ".join(f"-c{name}={value}" for name, value in options.items())
            engine = sa.create_engine(
                self.url,
                pool_size=pool_size,
                max_overflow=0,
                pool_pre_ping=True,
                connect_args={"options": said, "connect_timeout": 10},
            )
            if immediate:
                event.listen(engine, "connect", self._bound_transactions)
            return engine
        engine = sa.create_engine(
            self.url, pool_size=pool_size, max_overflow=0, connect_args={"check_same_thread": False}
        )
        event.listen(engine, "connect", _configure_sqlite)
        begin = "BEGIN IMMEDIATE" if immediate else "BEGIN"
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
        return engine


class _Write:
    """A change that waits for the writer thread, and who waits for its answer."""

    def __init__(self, fn: Callable[[sa.Connection], Any]) -> None:
        self.fn = fn
        self.context = copy_context()  # the current span and cause go with the work to its thread
        self.answer: Future[Any] = Future()
        self.result: Any = None
        self.error: Exception | None = None

    def say(self) -> None:
        """Answer, after the commit."""
        if self.error is None:
            self.answer.set_result(self.result)
        else:
            self.answer.set_exception(self.error)


def _can_bound(connection: Any) -> bool:
    """Whether the PostgreSQL at the other end of a driver's connection can bound a whole transaction."""
    return bool(connection.info.server_version >= 17_00_00)


def _run_each(connection: sa.Connection, writes: list[_Write]) -> None:
    for write in writes:
        try:
            with connection.begin_nested():
                write.result = write.context.run(write.fn, connection)
        except (OperationalError, InterfaceError):  # the database's fault: SQLite may have ended the transaction
            raise
        except Exception as error:  # noqa: BLE001 - it is the caller's, who gets it
            write.error = error


def _configure_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # pysqlite must not begin transactions by itself
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        f"busy_timeout={BUSY_SECONDS * 1000}",
        "cache_size=-16000",
    ):
        connection.execute(f"PRAGMA {pragma}")
