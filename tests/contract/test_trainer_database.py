"""The trainer's and the tuner's tables on both databases: claims, fences, leases, and tables as the code says."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from schemas.commands import TrainingCancelled, TrainingRequested
from schemas.events import JobCancelled, JobFailed, JobStarted, JobSucceeded
from schemas.jobs import Experiment, TrainingJob
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.tables import outbox
from services.kernel.uow import UnitOfWork, Work
from services.trainer import endings, handlers, tables
from services.trainer.model import JobState
from services.trainer.outcome import Finished, Lost, Rejected
from services.trainer.workspace import EpochReport, Result
from services.tuner import handlers as tuner_handlers
from services.tuner import progress
from services.tuner import tables as tuner_tables

JOB = TrainingJob.model_validate({"modelType": "line", "datasetConfig": {"trainPath": "train.csv"}})
SHA = "0" * 64


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'service.db'}"
    return str(request.getfixturevalue("postgres_url"))


def _database(url: str, service: str) -> Iterator[Database]:
    database = Database(url, service)
    migrate(database, f"services.{service}.migrations")
    yield database
    database.close()


@pytest.fixture
def trainer(url: str) -> Iterator[Database]:
    """The trainer's migrated database."""
    yield from _database(url, "trainer")


@pytest.fixture
def tuner(url: str) -> Iterator[Database]:
    """The tuner's migrated database."""
    yield from _database(url, "tuner")


class Desk:
    """Units of work on a database, and the messages that they left in the outbox."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._work = Work(database, "test")

    def run(self, fn: Any) -> Any:
        return self.database.write_now(lambda connection: self._work.within(connection, fn))

    def types(self) -> list[str]:
        rows = self.database.read_now(lambda c: c.execute(sa.select(outbox).order_by(outbox.c.seq)).all())
        return [dict(json.loads(row.headers))["ce_type"] for row in rows]


@pytest.mark.parametrize("service", ["trainer", "tuner"])
def test_the_migration_makes_the_tables_of_the_code(url: str, service: str) -> None:
    database = next(databases := _database(url, service))
    metadata = (tables if service == "trainer" else tuner_tables).metadata
    inspector = database.read_now(
        lambda c: {
            name: {column["name"]: column for column in sa.inspect(c).get_columns(name)} for name in metadata.tables
        }
    )
    for name, table in metadata.tables.items():
        assert {column.name: column.nullable for column in table.columns} == {
            column: facts["nullable"] for column, facts in inspector[name].items()
        }
    next(databases, None)


def test_the_life_of_jobs(trainer: Database) -> None:
    desk = Desk(trainer)
    for number in (1, 2, 3):
        request = TrainingRequested(
            job_id=f"job-{number}", job=JOB, requested_by="ada", experiment_id="e", trial=number
        )
        desk.run(lambda uow, request=request: handlers.on_requested(request, uow))
        desk.run(lambda uow, request=request: handlers.on_requested(request, uow))

    def claim(now: float) -> Any:
        return desk.run(lambda uow: tables.claim_next(uow.connection, "w", now=now, lease_seconds=10))

    first, second, third = claim(1e12), claim(1e12), claim(1e12)
    assert [c.job_id for c in (first, second, third)] == ["job-1", "job-2", "job-3"]
    assert claim(1e12) is None
    reports = [EpochReport(epoch=n, epochs=5, metrics={"loss": 0.5}, eta_seconds=1.0) for n in (1, 2)]
    desk.run(lambda uow: tables.add_epochs(uow.connection, first, reports[:1], now=1.0))
    desk.run(lambda uow: tables.add_epochs(uow.connection, first, reports, now=2.0))
    result = Result(manifest_digest=SHA, content_digest=SHA, dataset_digest=SHA, metrics={"accuracy": 0.9})
    desk.run(lambda uow: endings.settle(uow, first, Finished(result), 2))
    desk.run(lambda uow: endings.settle(uow, second, Rejected("invalid-input", "no"), 2))
    desk.run(lambda uow: handlers.on_cancelled(TrainingCancelled(job_id="job-3", reason="enough"), uow))
    desk.run(lambda uow: endings.settle(uow, third, Lost("killed"), 2))

    rows = trainer.read_now(lambda c: tables.newest(c, model_id="line", state=None, limit=10))
    assert {row.job_id: row.state for row in rows} == {
        "job-1": JobState.SUCCEEDED,
        "job-2": JobState.FAILED,
        "job-3": JobState.CANCELLED,
    }
    assert desk.types() == [JobSucceeded.TYPE, JobFailed.TYPE, JobCancelled.TYPE]
    body = trainer.read_now(lambda c: c.execute(sa.select(outbox.c.body).order_by(outbox.c.seq)).scalars().all()[0])
    assert json.loads(body)["requested_by"] == "ada", "the registry counts no approval of theirs"
    assert [row.epoch for row in trainer.read_now(lambda c: tables.history(c, "job-1", 1))] == [1, 2]
    desk.run(lambda uow: endings.settle(uow, first, Rejected("late", "a zombie"), 2))
    assert len(desk.types()) == 3


MODELS = ("a_1", "ab1", "A_1", "b1", "b2")
PAGES = ((("a_",), 1, ["a_1"]), (("a_", "b"), 2, ["b2", "b1"]), ((), 10, [*reversed(MODELS)]))
"""(prefixes of a key, rows asked for, models on the page), where the models came in the order of `MODELS`."""


def _job_of(model: str) -> TrainingJob:
    return TrainingJob.model_validate({"modelType": model, "datasetConfig": {"trainPath": "train.csv"}})


@pytest.mark.parametrize(("prefixes", "limit", "expected"), PAGES)
def test_a_page_of_jobs_is_full_of_what_a_key_may_see(
    trainer: Database, prefixes: tuple[str, ...], limit: int, expected: list[str]
) -> None:
    def insert(connection: sa.Connection) -> None:
        for at, model in enumerate(MODELS):
            request = TrainingRequested(job_id=f"job-{model}", job=_job_of(model))
            tables.insert_job(connection, request, now=float(at), cause=None)

    trainer.write_now(insert)
    rows = trainer.read_now(lambda c: tables.newest(c, model_id=None, state=None, limit=limit, prefixes=prefixes))
    assert [row.model_id for row in rows] == expected


@pytest.mark.parametrize(("prefixes", "limit", "expected"), PAGES)
def test_a_page_of_experiments_is_full_of_what_a_key_may_see(
    tuner: Database, prefixes: tuple[str, ...], limit: int, expected: list[str]
) -> None:
    space = {"dropout": {"type": "float", "low": 0.1, "high": 0.5}}
    experiment = Experiment.model_validate({"name": "e", "searchSpace": space, "maxTrials": 1})

    def insert(connection: sa.Connection) -> None:
        for at, model in enumerate(MODELS):
            tuner_tables.insert_experiment(
                connection,
                f"exp-{model}",
                experiment,
                base_job=_job_of(model),
                base_job_from="the test",
                parameters=[{}],
                requested_by="t",
                cause=None,
                now=float(at),
            )

    tuner.write_now(insert)
    rows = tuner.read_now(lambda c: tuner_tables.newest(c, model_id=None, limit=limit, prefixes=prefixes))
    assert [row.model_id for row in rows] == expected


def test_a_lease_that_is_over_is_taken_and_its_holder_is_fenced(trainer: Database) -> None:
    desk = Desk(trainer)
    desk.run(lambda uow: handlers.on_requested(TrainingRequested(job_id="job-1", job=JOB), uow))
    claim = desk.run(lambda uow: tables.claim_next(uow.connection, "w1", now=1e12, lease_seconds=10))
    assert desk.run(lambda uow: tables.expired(uow.connection, now=1e12 + 5)) == []
    desk.run(lambda uow: tables.renew(uow.connection, claim, now=1e12 + 5, lease_seconds=10))
    assert not trainer.read_now(lambda c: tables.needs_settling(c, now=1e12 + 12))
    assert trainer.read_now(lambda c: tables.needs_settling(c, now=1e12 + 16))

    def take_back(uow: UnitOfWork) -> None:
        for row in tables.expired(uow.connection, now=1e12 + 16):
            endings.settle_loss(uow, row, "gone", 2)

    desk.run(take_back)
    assert desk.run(lambda uow: tables.held(uow.connection, claim)) is None
    again = desk.run(lambda uow: tables.claim_next(uow.connection, "w2", now=1e12, lease_seconds=10))
    assert (again.attempt, again.fence) == (2, claim.fence + 1)
    desk.run(lambda uow: endings.settle(uow, claim, Lost("killed"), 2))
    assert trainer.read_now(lambda c: tables.running_attempts(c)) == {"job-1.2"}
    desk.run(lambda uow: endings.settle(uow, again, Lost("killed"), 2))
    assert desk.types() == [JobFailed.TYPE]


def test_an_experiment_from_the_first_trial_to_the_last(tuner: Database) -> None:
    desk = Desk(tuner)
    space = {"dropout": {"type": "float", "low": 0.1, "high": 0.5}}
    experiment = Experiment.model_validate({"name": "e", "searchSpace": space, "maxTrials": 3, "parallelTrials": 2})
    parameters = [{"dropout": value} for value in (0.1, 0.2, 0.3)]

    def create(uow: UnitOfWork) -> None:
        tuner_tables.insert_experiment(
            uow.connection,
            "exp-1",
            experiment,
            base_job=JOB,
            base_job_from="the test",
            parameters=parameters,
            requested_by="t",
            cause=None,
            now=1.0,
        )
        progress.advance(uow, "exp-1")

    desk.run(create)
    assert desk.types() == [TrainingRequested.TYPE] * 2
    desk.run(lambda uow: tuner_handlers.on_started(JobStarted(job_id="exp-1-t1", model_id="line", worker="w"), uow))

    def succeeded(number: int, accuracy: float, register: bool = False) -> JobSucceeded:
        return JobSucceeded(
            job_id=f"exp-1-t{number}",
            model_id="line",
            job=JOB,
            artifact="a",
            manifest_digest=SHA,
            content_digest=SHA,
            dataset_digest=SHA,
            metrics={"accuracy": accuracy},
            register_as_version=register,
        )

    desk.run(lambda uow: tuner_handlers.on_succeeded(succeeded(1, 0.8), uow))
    assert desk.types() == [TrainingRequested.TYPE] * 3
    desk.run(
        lambda uow: tuner_handlers.on_failed(
            JobFailed(job_id="exp-1-t2", model_id="line", error="x", detail="because"), uow
        )
    )
    row = tuner.read_now(lambda c: tuner_tables.find(c, "exp-1"))
    assert row is not None
    assert row.state == "running"
    desk.run(lambda uow: tuner_handlers.on_succeeded(succeeded(3, 0.9), uow))
    row = tuner.read_now(lambda c: tuner_tables.find(c, "exp-1"))
    assert row is not None
    assert (row.state, row.best_trial, row.best_value) == ("succeeded", 3, 0.9)
    assert tuner.read_now(tuner_tables.known_last_jobs) == {}
    desk.run(lambda uow: tuner_handlers.on_succeeded(succeeded(9, 0.9, register=True), uow))
    desk.run(lambda uow: tuner_handlers.on_succeeded(succeeded(9, 0.9, register=True), uow))
    assert tuner.read_now(tuner_tables.known_last_jobs) == {"line": ("exp-1-t9", JOB)}
