"""Bring a service's database to its newest Alembic revision."""

from importlib import import_module
from pathlib import Path

import sqlalchemy as sa
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory

from services.kernel.db import Database


def migrate(db: Database, package: str) -> None:
    """Apply the missing revisions of `package` (for example `services.registry.migrations`), in one transaction.

    Safe to call from several processes at once: on SQLite the transaction is immediate, on PostgreSQL an advisory lock
    is taken. Raises `DatabaseUnavailable`.
    """
    location = Path(str(import_module(package).__file__)).parent
    config = Config()
    config.set_main_option("script_location", str(location).replace("%", "%%"))
    config.set_main_option("version_locations", str(location / "versions").replace("%", "%%"))
    config.set_main_option("path_separator", "newline")
    script = ScriptDirectory.from_config(config)

    def upgrade(revision: str | tuple[str, ...], _: MigrationContext) -> list[RevisionStep]:
        return script._upgrade_revs("head", revision)  # type: ignore[arg-type]

    def run(connection: sa.Connection) -> None:
        if not db.is_sqlite:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock(hashtext('trimtab-{db.schema}'))")
            connection.exec_driver_sql(f'CREATE SCHEMA IF NOT EXISTS "{db.schema}"')
        with EnvironmentContext(config, script, fn=upgrade) as environment:
            environment.configure(connection=connection, transactional_ddl=False)
            environment.run_migrations()

    db.write_now(run)
