"""The tables of a database as they are, whatever its dialect and revision: columns, keys, order.

Read from the database itself and not from today's code, so that a database of an older revision is saved whole. Left
out is what only repeats other tables for searching and is another thing on every database: SQLite's virtual tables and
PostgreSQL's tables of `tsvector`.
"""

from graphlib import TopologicalSorter

import sqlalchemy as sa

ALEMBIC = "alembic_version"


def revision_of(connection: sa.Connection) -> str | None:
    """The Alembic revision of the database; None when nothing was ever made in it."""
    if ALEMBIC not in names(connection):
        return None
    revision: str | None = connection.execute(
        sa.select(sa.column("version_num")).select_from(sa.table(ALEMBIC))
    ).scalar()
    return revision


def names(connection: sa.Connection) -> list[str]:
    """Every ordinary table, by name, Alembic's own included."""
    if connection.dialect.name == "sqlite":
        made = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'table'").all()
        virtual = tuple(name for name, sql in made if sql is not None and sql.upper().startswith("CREATE VIRTUAL"))
        theirs = tuple(f"{name}_" for name in virtual)
        return sorted(name for name, _ in made if name not in virtual and not name.startswith(("sqlite_", *theirs)))
    found = connection.exec_driver_sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = current_schema()"
        " AND table_type = 'BASE TABLE' AND table_name NOT IN (SELECT table_name FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND data_type = 'tsvector')"
    )
    return sorted(found.scalars())


def in_order(connection: sa.Connection) -> list[sa.Table]:
    """The ordinary tables but Alembic's, each after those that its foreign keys name."""
    inspector = sa.inspect(connection)
    inspector.clear_cache()
    metadata = sa.MetaData()
    order: TopologicalSorter[str] = TopologicalSorter()
    found = [name for name in names(connection) if name != ALEMBIC]
    keys = inspector.get_multi_pk_constraint(filter_names=found)  # all tables in one query: PostgreSQL takes its time
    foreign = inspector.get_multi_foreign_keys(filter_names=found)
    for place, described in sorted(inspector.get_multi_columns(filter_names=found).items()):
        name, key = place[1], set(keys[place]["constrained_columns"])
        columns = [
            sa.Column(column["name"], column["type"], primary_key=column["name"] in key)
            for column in described
            if not column.get("computed")
        ]
        sa.Table(name, metadata, *columns)
        referred = {str(reference["referred_table"]) for reference in foreign[place]}
        order.add(name, *sorted(referred - {name}))
    return [metadata.tables[name] for name in order.static_order()]


def holding(connection: sa.Connection) -> dict[str, int]:
    """Rows of every table that has any."""
    found = {}
    for table in in_order(connection):
        if connection.execute(sa.select(sa.literal(1)).select_from(table).limit(1)).first() is not None:
            found[table.name] = count(connection, table)
    return found


def count(connection: sa.Connection, table: sa.Table) -> int:
    """Rows of a table."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def continue_numbers(connection: sa.Connection, table: sa.Table) -> None:
    """Let PostgreSQL's sequences go on after the greatest number in the table; SQLite does so by itself."""
    if connection.dialect.name == "sqlite":
        return
    for column in table.primary_key:
        named = sa.select(sa.func.pg_get_serial_sequence(f'"{table.name}"', column.name))
        sequence = connection.execute(named).scalar()
        greatest = connection.execute(sa.select(sa.func.max(column))).scalar() if sequence else None
        if greatest is not None:
            connection.execute(sa.select(sa.func.setval(sequence, greatest)))
