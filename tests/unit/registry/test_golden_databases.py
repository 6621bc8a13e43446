"""Every database that a release wrote is migrated and read by today's code."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from schemas.manifest import BASELINE_SAMPLE_NAME, ManifestFile
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.uow import Work
from services.registry import aliases, audit, deployments, keys, stages, tables, versions
from services.registry.governance import approvals, checks, controls, policies
from services.registry.keeping import signing
from services.registry.quantization import quantizer
from services.registry.quantization.quantizer import Subject
from services.registry.tables import registrations
from tests.golden.registry_database import DATABASES, MODEL, SIGNATURE, manifest

GOLDEN = sorted(DATABASES.glob("registry-*.sql"))


def test_there_is_one_of_the_first_migration() -> None:
    assert [path.name for path in GOLDEN][:1] == ["registry-0001.sql"]


@pytest.mark.parametrize("dump", GOLDEN, ids=lambda path: path.stem)
def test_an_old_database_is_read(dump: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.executescript(dump.read_text())
    database = Database(f"sqlite:///{tmp_path}/registry.db", "registry")
    try:
        migrate(database, "services.registry.migrations")
        found = database.read_now(lambda c: versions.list_versions(c, MODEL, before=None, limit=10))
        assert [(row.version, row.stage) for row in found] == [
            ("1.2.20261122", "production"),
            ("1.1.20261122", "archived"),
        ]
        assert len(database.read_now(lambda c: stages.history(c, MODEL))) == 7
        wanted = database.read_now(lambda c: deployments.find_current(c, MODEL))
        assert (wanted.revision, [route.version for route in wanted.routes]) == (3, ["1.2.20261122"])
        assert len(database.read_now(keys.list_all)) == 1
        waiting = database.read_now(lambda c: c.execute(sa.select(registrations.c.job_id, registrations.c.state)).all())
        assert waiting == [("job-3", "pending")]
        assert database.read_now(audit.broken_at) is None
        work = Work(database, "registry")
        back = database.write_now(lambda c: work.within(c, lambda uow: deployments.rollback(uow, MODEL, actor="bob")))
        assert [route.version for route in back.routes] == ["1.1.20261122"]
    finally:
        database.close()


def test_what_the_second_migration_brought_is_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.executescript((DATABASES / "registry-0002.sql").read_text())
    database = Database(f"sqlite:///{tmp_path}/registry.db", "registry")
    try:
        migrate(database, "services.registry.migrations")
        newest = "1.2.20261122"

        def read(c: sa.Connection) -> tuple[object, ...]:
            return (
                aliases.aliases_of(c, MODEL, newest),
                [row.actor for row in approvals.list_decisions(c, MODEL, newest)],
                [(row.name, row.passed) for row in checks.latest_checks(c, MODEL, newest)],
                [controls.control_of(row).owner for row in controls.list_controls(c, MODEL)],
                policies.effective(c, MODEL).source,
                [row.name for row in signing.list_signers(c)],
                versions.find_version(c, MODEL, "1.1.20261122").description,
            )

        found = database.read_now(read)
        assert found == (
            ["champion"],
            ["bob"],
            [("bias-scan", True)],
            ["carol"],
            "model",
            ["release"],
            "the first of all",
        )
    finally:
        database.close()


def test_what_the_third_migration_brought_is_read(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "registry.db")) as connection:
        connection.executescript((DATABASES / "registry-0003.sql").read_text())
    database = Database(f"sqlite:///{tmp_path}/registry.db", "registry")
    try:
        migrate(database, "services.registry.migrations")
        sample = ManifestFile(path=BASELINE_SAMPLE_NAME, size=1000, sha256="b" * 64)
        subject = Subject("1.2.20261122", "", SIGNATURE, manifest(2).files[0], sample)
        found = database.read_now(lambda c: quantizer.find(c, subject, "int8"))
        assert found is not None
        assert (found.sha256, found.size, found.report.loss) == ("a" * 64, 700, 0.002)
        assert database.read_now(lambda c: quantizer.find(c, subject, "fp16")) is None
    finally:
        database.close()


def test_the_migrations_make_the_tables_of_today(tmp_path: Path) -> None:
    """The frozen revisions and `tables.py` agree: columns, types, keys, indexes."""
    migrated = Database(f"sqlite:///{tmp_path}/migrated.db", "registry")
    migrate(migrated, "services.registry.migrations")
    declared = sa.create_engine(f"sqlite:///{tmp_path}/declared.db")
    tables.metadata.create_all(declared)

    def describe(inspector: sa.Inspector, table: str) -> object:
        columns = [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)]
        indexes = sorted(
            (i["name"] or "", tuple(i["column_names"]), bool(i["unique"])) for i in inspector.get_indexes(table)
        )
        unique = sorted((u["name"] or "", tuple(u["column_names"])) for u in inspector.get_unique_constraints(table))
        return columns, indexes, unique, inspector.get_pk_constraint(table), inspector.get_foreign_keys(table)

    with declared.connect() as connection:
        expected = {name: describe(sa.inspect(connection), name) for name in tables.metadata.tables}
    actual = migrated.read_now(lambda c: {name: describe(sa.inspect(c), name) for name in tables.metadata.tables})
    migrated.close()
    declared.dispose()
    assert actual == expected
