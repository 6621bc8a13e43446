"""The services' databases as JSON lines, and back into empty ones of either dialect.

All of them are read as of one moment, while their services go on writing: in one REPEATABLE READ transaction on
PostgreSQL; on SQLite in snapshots that are opened while all five files are locked for writing, which takes
milliseconds. So no service is saved with what another has not said yet.

Restoring makes the tables of the saved revision, fills them, and migrates them to today's. It is one transaction for
all databases on PostgreSQL; on SQLite the files are moved into place together, after the last of them is whole, and
those that an interrupted restore has moved are known again.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from services.kernel.db import Database, take_all_the_time
from services.kernel.migrate import knows, upgrade
from services.kernel.settings import Settings
from trimtab.backup import moves, tables
from trimtab.backup.errors import BackupError, BackupUnusable, NotEmpty
from trimtab.backup.lines import Lines, from_json, reading, to_json
from trimtab.backup.record import DatabasePart, TablePart

SERVICES = ("registry", "trainer", "monitor", "tuner", "loop")
"""The services that have a database."""
ROWS_AT_ONCE = 1_000

Tell = Callable[[int, int], None]
"""Called with (done so far, all there is)."""
Finish = Callable[[sa.Connection, str], None]
"""Called with a connection to each service's restored database, and the service's name, before it is committed."""


def migrations_of(service: str) -> str:
    """The package of a service's revisions."""
    return f"services.{service}.migrations"


# saving -----------------------------------------------------------------------------------------------------------


def save(settings: Settings, folder: Path, run: str, tell: Tell) -> list[DatabasePart]:
    """Write every database that there is below `folder/run`. Raises `DatabaseUnavailable`."""

    def write(connections: Mapping[str, sa.Connection]) -> list[DatabasePart]:
        ordered: dict[str, list[sa.Table]] = {}
        for service, connection in connections.items():
            _look_at(connection, service)
            ordered[service] = tables.in_order(connection) if tables.revision_of(connection) is not None else []
        total = 0
        for service, found in ordered.items():
            _look_at(connections[service], service)
            total += sum(tables.count(connections[service], table) for table in found)
        counter = _Counter(tell, total)
        saved = []
        for service, found in ordered.items():
            if found:
                _look_at(connections[service], service)
                saved.append(_save(connections[service], service, found, folder, run, counter))
        return saved

    with ExitStack() as stack:
        opened = {service: stack.enter_context(_opened(settings, service)) for service in SERVICES}
        databases = {service: database for service, database in opened.items() if database is not None}
        if _on_postgres(settings):
            return databases[SERVICES[0]].read_now(lambda connection: write(_one_moment(connection)))
        return _with_snapshots(list(databases.items()), {}, write)


def _one_moment(connection: sa.Connection) -> dict[str, sa.Connection]:
    connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
    return dict.fromkeys(SERVICES, connection)


def _with_snapshots(
    databases: Sequence[tuple[str, Database]],
    connections: Mapping[str, sa.Connection],
    write: Callable[[Mapping[str, sa.Connection]], list[DatabasePart]],
    locked: Sequence[Database] = (),
) -> list[DatabasePart]:
    """`write(connections)` in a transaction of each database, all of which see the same moment."""
    if not databases:
        _while_nobody_writes(locked, lambda: [tables.revision_of(connection) for connection in connections.values()])
        return write(connections)
    (service, database), *others = databases
    return database.read_now(
        lambda connection: _with_snapshots(others, {**connections, service: connection}, write, (*locked, database))
    )


def _while_nobody_writes(databases: Sequence[Database], look: Callable[[], object]) -> None:
    """Call `look`, which opens the snapshots: a transaction of SQLite sees the moment of its first look."""
    if not databases:
        look()
        return
    first, *others = databases
    first.write_now(lambda _: _while_nobody_writes(others, look))


def _look_at(connection: sa.Connection, service: str) -> None:
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f'SET LOCAL search_path TO "{service}"')


def _save(
    connection: sa.Connection, service: str, found: Sequence[sa.Table], folder: Path, run: str, counter: "_Counter"
) -> DatabasePart:
    parts = []
    for table in found:
        lines = Lines(folder, f"{run}/databases/{service}/{table.name}.jsonl.gz")
        lines.write({"table": table.name, "columns": [column.name for column in table.columns]})
        rows = 0
        query = sa.select(table).order_by(*table.primary_key)
        for batch in connection.execute(query, execution_options={"yield_per": ROWS_AT_ONCE}).partitions():
            for row in batch:
                lines.write([to_json(value) for value in row])
            rows += len(batch)
            counter.add(len(batch))
        parts.append(TablePart(name=table.name, rows=rows, part=lines.close()))
    revision = tables.revision_of(connection)
    assert revision is not None  # it has tables
    return DatabasePart(service=service, revision=revision, tables=tuple(parts))


class _Counter:
    """Adds up what is done."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell, self._total, self._done = tell, total, 0

    def add(self, rows: int) -> None:
        self._done += rows
        self._tell(self._done, self._total)


# bringing back ----------------------------------------------------------------------------------------------------


def check_empty(settings: Settings) -> None:
    """Raise `NotEmpty` naming the first database that holds a row; what a restore that did not end left is none."""
    left = _left_behind(settings)
    for service in SERVICES:
        if left and _file(settings, service) in left:
            continue
        with _opened(settings, service) as database:
            held = database.read_now(tables.holding) if database is not None else {}
        if held:
            name, rows = next(iter(held.items()))
            raise NotEmpty(
                f"the database of {service} ({where(settings, service)}) holds data already ({name}: {rows} rows):"
                " a backup is restored into an empty installation only; name another with TRIMTAB_DATA_DIR or"
                " TRIMTAB_DATABASE_URL, or move this one away first"
            )


def check_revisions(parts: Iterable[DatabasePart]) -> None:
    """Raise `BackupUnusable` when a later release has written a database."""
    for part in parts:
        if part.service not in SERVICES or not knows(migrations_of(part.service), part.revision):
            raise BackupUnusable(
                f"the database of {part.service} is of revision {part.revision}, which this release does not know:"
                " restore the backup with the release that made it, or a later one"
            )


def restore(settings: Settings, folder: Path, parts: Sequence[DatabasePart], finish: Finish, tell: Tell) -> None:
    """Fill the empty databases from `parts` and migrate them to today's revisions: all of them, or none.

    Raises `NotEmpty` (somebody was faster), `BackupUnusable` (rows are missing, or do not fit) and
    `DatabaseUnavailable`.
    """
    counter = _Counter(tell, sum(part.rows for part in parts))

    def fill(connection: sa.Connection, part: DatabasePart) -> None:
        _fill(connection, folder, part, counter)
        finish(connection, part.service)

    if _on_postgres(settings):
        _into_postgres(settings.database_of(SERVICES[0]), parts, fill)
    else:
        _into_files(settings, parts, fill)


def _into_postgres(
    url: str, parts: Sequence[DatabasePart], fill: Callable[[sa.Connection, DatabasePart], None]
) -> None:
    def run(connection: sa.Connection) -> None:
        take_all_the_time(connection)
        for part in parts:
            connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{part.service}"')
            _look_at(connection, part.service)
            _clear(connection, part.service)
            fill(connection, part)

    database = Database(url, "public")
    try:
        database.write_now(run)
    finally:
        database.close()


def _into_files(
    settings: Settings, parts: Sequence[DatabasePart], fill: Callable[[sa.Connection, DatabasePart], None]
) -> None:
    whole: list[tuple[Path, Path]] = []
    for part in parts:
        path = _file(settings, part.service)
        unfinished = path.with_name(f"{path.name}.restoring")
        path.parent.mkdir(parents=True, exist_ok=True)
        moves.remove(unfinished)
        database = Database(f"sqlite:///{unfinished}", part.service)
        try:
            database.write_now(lambda connection, part=part: fill(connection, part))  # type: ignore[misc]
        finally:
            database.close()
        whole.append((unfinished, path))
    check_empty(settings)
    for path in _left_behind(settings):
        moves.remove(path)
    if whole:
        moves.move(_file(settings, SERVICES[0]).parent, whole)


def _fill(connection: sa.Connection, folder: Path, part: DatabasePart, counter: _Counter) -> None:
    package = migrations_of(part.service)
    upgrade(connection, package, part.service, part.revision)
    there = {table.name: table for table in tables.in_order(connection)}
    if absent := {saved.name for saved in part.tables} - set(there):
        raise BackupUnusable(f"revision {part.revision} of {part.service} has no table {', '.join(sorted(absent))}")
    for table in reversed(there.values()):  # what migrating has put there is in the backup too, as it was
        connection.execute(table.delete())
    saved = {table.name: table for table in part.tables}
    for name in filter(saved.__contains__, there):
        with reading(folder / saved[name].part.path) as documents:
            rows = _insert(connection, there[name], documents, counter)
        if rows != saved[name].rows:
            raise BackupUnusable(f"{part.service}.{name} has {rows} rows in the backup instead of {saved[name].rows}")
        tables.continue_numbers(connection, there[name])
    upgrade(connection, package, part.service)


def _insert(connection: sa.Connection, table: sa.Table, documents: Iterator[Any], counter: _Counter) -> int:
    heading: dict[str, Any] = next(documents, {})
    columns: list[str] = heading.get("columns", [])
    if unknown := set(columns) - set(table.columns.keys()):
        raise BackupUnusable(f"the table {table.name} has no column {', '.join(sorted(unknown))}")
    rows = 0
    while batch := list(islice(documents, ROWS_AT_ONCE)):
        values = [dict(zip(columns, map(from_json, row), strict=True)) for row in batch]
        try:
            connection.execute(table.insert(), values)
        except (sa.exc.IntegrityError, sa.exc.DataError, sa.exc.StatementError) as error:
            why = str(getattr(error, "orig", error)).splitlines()[0]
            raise BackupUnusable(f"rows {rows + 1} to {rows + len(batch)} of {table.name} do not fit: {why}") from error
        rows += len(batch)
        counter.add(len(batch))
    return rows


def _clear(connection: sa.Connection, service: str) -> None:
    """Remove the tables that a service has made and not used. Raises `NotEmpty`."""
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock(hashtext('trimtab-{service}'))")
    if tables.holding(connection):
        raise NotEmpty(f"the database of {service} was filled meanwhile: stop every service and begin again")
    preparer = connection.dialect.identifier_preparer
    for name in sa.inspect(connection).get_table_names(schema=service):
        connection.exec_driver_sql(f"DROP TABLE {preparer.quote(name)} CASCADE")


# looking ----------------------------------------------------------------------------------------------------------


def look(settings: Settings, service: str, read: Callable[[sa.Connection], object]) -> bool:
    """Call `read` with the service's database, once it has been made; whether it has. Raises `DatabaseUnavailable`."""

    def ask(connection: sa.Connection) -> bool:
        if tables.revision_of(connection) is None:
            return False
        read(connection)
        return True

    with _opened(settings, service) as database:
        return database is not None and database.read_now(ask)


def where(settings: Settings, service: str) -> str:
    """The database's URL, without its password."""
    return sa.make_url(settings.database_of(service)).render_as_string(hide_password=True)


# where they are ---------------------------------------------------------------------------------------------------


@contextmanager
def _opened(settings: Settings, service: str) -> Iterator[Database | None]:
    """The service's database; None when its file is not there. Looking does not make one."""
    url = settings.database_of(service)
    if url.startswith("sqlite") and not _file(settings, service).exists():
        yield None
        return
    database = Database(url, service)
    try:
        yield database
    finally:
        database.close()


def _file(settings: Settings, service: str) -> Path:
    name = sa.make_url(settings.database_of(service)).database
    if not name:
        raise BackupError("TRIMTAB_DATABASE_URL names no database: a database in memory can't be saved or restored")
    return Path(name)


def _left_behind(settings: Settings) -> list[Path]:
    if _on_postgres(settings):
        return []
    paths = [_file(settings, service) for service in SERVICES]
    return moves.left_behind(paths[0].parent, paths)


def _on_postgres(settings: Settings) -> bool:
    return not settings.database_of(SERVICES[0]).startswith("sqlite")
