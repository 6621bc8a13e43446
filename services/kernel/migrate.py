"""Bring a service's database to its newest Alembic revision."""

from importlib import import_module
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory

from services.kernel.db import Database, take_all_the_time

HEAD = "head"


def migrate(db: Database, package: str) -> None:
    """Apply the missing revisions of `package` (for example `services.registry.migrations`), in one transaction.

    Safe to call from several processes at once: on SQLite the transaction is immediate, on PostgreSQL an advisory lock
    is taken. Raises `DatabaseUnavailable`.
    """
    db.write_now(lambda connection: upgrade(connection, package, db.schema))


def upgrade(connection: sa.Connection, package: str, schema: str, revision: str = HEAD) -> None:
    """Apply the revisions up to `revision` that are missing, inside the caller's transaction.

    On PostgreSQL `schema` is made where it is missing; the caller's search path must name it.
    """
    script = _scripts(package)

    def steps(present: str | tuple[str, ...], _: MigrationContext) -> list[RevisionStep]:
        return script._upgrade_revs(revision, present)  # type: ignore[arg-type]

    take_all_the_time(connection)
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock(hashtext('trimtab-{schema}'))")
        connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{schema}"')
    with EnvironmentContext(Config(), script, fn=steps) as environment:
        environment.configure(connection=connection, transactional_ddl=False)
        environment.run_migrations()


def knows(package: str, revision: str) -> bool:
    """Whether `revision` is one of this release's."""
    return revision in {script.revision for script in _scripts(package).walk_revisions()}


def _scripts(package: str) -> ScriptDirectory:
    location = Path(str(import_module(package).__file__)).parent
    config = Config()
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("version_locations", str(location / "versions").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    return ScriptDirectory.from_config(config)
