"""The dispatcher on a database of its own: however an attempt ends, its job does not stay running."""

from collections.abc import Callable
from pathlib import Path

from schemas.commands import TrainingRequested
from schemas.jobs import TrainingJob
from services.kernel.db import Database
from services.kernel.migrate import migrate
from services.kernel.storage import open_store
from services.kernel.uow import Work
from services.trainer import handlers, tables
from services.trainer.dispatcher import Dispatcher
from services.trainer.executors import Exit
from services.trainer.model import JobState
from services.trainer.settings import TrainerSettings
from services.trainer.workspace import EpochReport
from tests.waiting import until


class Defective:
    """An executor with a defect."""

    async def run(self, folder: Path, on_epoch: Callable[[EpochReport], None]) -> Exit:
        raise KeyError(folder.name)


async def test_an_unforeseen_error_ends_the_attempt_at_once(tmp_path: Path) -> None:
    settings = TrainerSettings(data_dir=tmp_path / "data", trainer_attempts=1, trainer_lease_seconds=3600)
    database = Database(f"sqlite:///{tmp_path / 'trainer.db'}", "trainer")
    migrate(database, "services.trainer.migrations")
    work = Work(database, "trainer")
    job = TrainingJob.model_validate({"modelType": "line", "datasetConfig": {"trainPath": str(tmp_path / "rows.csv")}})
    await work.run(lambda uow: handlers.on_requested(TrainingRequested(job_id="job-1", job=job), uow))
    dispatcher = Dispatcher(settings, work, lambda: open_store(settings), Defective(), "worker-1")
    await dispatcher.start()

    def ended() -> bool:
        row = database.read_now(lambda connection: tables.find(connection, "job-1"))
        return row is not None and JobState(row.state).ended

    try:
        await until(ended, 20, "the end of the job")
    finally:
        await dispatcher.stop()
    row = database.read_now(lambda connection: tables.find(connection, "job-1"))
    database.close()
    assert row is not None
    assert (row.state, row.error) == (JobState.FAILED, "worker-lost")
    assert "KeyError" in row.detail
