"""Every database that a release of the trainer or the tuner wrote is migrated and read by today's code."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.uow import UnitOfWork, Work
from services.trainer import endings, tables
from services.trainer.model import JobState
from services.tuner import progress, views
from services.tuner import tables as tuner_tables
from tests.golden.registry_database import DATABASES, MODEL
from tests.golden.training_databases import JOB

TRAINER = sorted(DATABASES.glob("trainer-*.sql"))
TUNER = sorted(DATABASES.glob("tuner-*.sql"))


def test_there_is_one_of_each_first_migration() -> None:
    assert [path.name for path in (*TRAINER[:1], *TUNER[:1])] == ["trainer-0001.sql", "tuner-0001.sql"]


@contextmanager
def _restored(dump: Path, service: str, folder: Path) -> Iterator[tuple[Database, Work]]:
    with closing(sqlite3.connect(folder / "service.db")) as connection:
        connection.executescript(dump.read_text())
    database = Database(f"sqlite:///{folder}/service.db", service)
    migrate(database, f"services.{service}.migrations")
    yield database, Work(database, service)
    database.close()


@pytest.mark.parametrize("dump", TRAINER, ids=lambda path: path.stem)
def test_an_old_trainer_goes_on(dump: Path, tmp_path: Path) -> None:
    with _restored(dump, "trainer", tmp_path) as (database, work):
        rows = database.read_now(lambda c: tables.newest(c, model_id=MODEL, state=None, limit=10))
        assert {row.job_id: row.state for row in rows} == {
            "job-1": "succeeded",
            "job-2": "failed",
            "job-3": "running",
            "job-4": "running",
            "job-5": "queued",
        }
        assert [row.epoch for row in database.read_now(lambda c: tables.history(c, "job-1", 1))] == [1]

        def take_over(uow: UnitOfWork) -> None:
            for row in tables.expired(uow.connection, now=5e9):
                endings.settle_loss(uow, row, "gone", 2)

        database.write_now(lambda c: work.within(c, take_over))
        row = database.read_now(lambda c: tables.find(c, "job-4"))
        assert row is not None
        assert (row.state, row.cancel_reason) == (JobState.CANCELLED, "enough")
        claims = [database.write_now(lambda c: tables.claim_next(c, "w", now=5e9, lease_seconds=1)) for _ in range(3)]
        taken = {claim.job_id: claim for claim in claims if claim is not None}
        assert taken.keys() == {"job-3", "job-5"}
        assert (taken["job-3"].attempt, taken["job-3"].fence) == (2, 2)
        assert taken["job-3"].job.holdout is not None
        assert taken["job-5"].job == JOB


@pytest.mark.parametrize("dump", TUNER, ids=lambda path: path.stem)
def test_an_old_tuner_goes_on(dump: Path, tmp_path: Path) -> None:
    with _restored(dump, "tuner", tmp_path) as (database, work):
        assert database.read_now(tuner_tables.known_last_jobs) == {MODEL: ("job-1", JOB)}

        def show(connection: sa.Connection) -> dict[str, Any]:
            row = tuner_tables.find(connection, "exp-1")
            assert row is not None
            return views.detail(connection, row)

        shown = database.read_now(show)
        assert [trial["state"] for trial in shown["trials"]] == ["succeeded", "running", "waiting"]
        assert (shown["best_trial"], shown["best_value"], shown["best_parameters"]) == (1, 0.8, {"dropout": 0.1})

        def stop(uow: UnitOfWork) -> None:
            row = tuner_tables.find(uow.connection, "exp-1", lock=True)
            progress.stop(uow, row, "enough")

        database.write_now(lambda c: work.within(c, stop))
        assert database.read_now(show)["trial_counts"]["cancelled"] == 1


@pytest.mark.parametrize(("service", "metadata"), [("trainer", tables.metadata), ("tuner", tuner_tables.metadata)])
def test_the_migrations_make_the_tables_of_today(service: str, metadata: sa.MetaData, tmp_path: Path) -> None:
    migrated = Database(f"sqlite:///{tmp_path}/migrated.db", service)
    migrate(migrated, f"services.{service}.migrations")
    declared = sa.create_engine(f"sqlite:///{tmp_path}/declared.db")
    metadata.create_all(declared)

    def describe(inspector: sa.Inspector, table: str) -> object:
        columns = [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)]
        indexes = sorted(
            (i["name"] or "", tuple(i["column_names"]), bool(i["unique"])) for i in inspector.get_indexes(table)
        )
        return columns, indexes, inspector.get_pk_constraint(table)

    with declared.connect() as connection:
        expected = {name: describe(sa.inspect(connection), name) for name in metadata.tables}
    actual = migrated.read_now(lambda c: {name: describe(sa.inspect(c), name) for name in metadata.tables})
    migrated.close()
    declared.dispose()
    assert actual == expected
