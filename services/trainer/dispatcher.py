"""Takes queued jobs, runs them in children, and writes down how they end. A part of the trainer's process.

A claimed job has a lease that this process renews; whatever it writes is fenced by the claim, so a dispatcher that
slept through its lease can change nothing any more. Jobs whose lease is over, of whatever trainer, go back to the queue
or fail: nothing stays running for ever.
"""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import sqlalchemy as sa
from prometheus_client import Gauge

from schemas.events import JobProgress, JobStarted
from services.kernel.artifacts import discard_version
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.failpoints import failpoint
from services.kernel.storage import ArtifactStore
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork, Work
from services.trainer import tables
from services.trainer.endings import end_cancelled, give_back, publish, settle, settle_loss
from services.trainer.executors import Executor
from services.trainer.model import Claim
from services.trainer.outcome import Finished, Lost, Rejected, Verdict, judge_exit
from services.trainer.patience import patiently
from services.trainer.preparation import prepare
from services.trainer.settings import TrainerSettings
from services.trainer.workspace import EpochReport

log = get_logger(__name__)

T = TypeVar("T")

POLL_SECONDS = 0.5
FLUSH_SECONDS = 0.25
RUNNING = Gauge("trimtab_trainer_running_jobs", "Children that train now")


class _Stopped(Exception):
    """The claim must not go on: cancelled by request, or held by somebody else."""

    def __init__(self, cancelled: bool) -> None:
        super().__init__(cancelled)
        self.cancelled = cancelled


class Dispatcher:
    """At most `trainer_parallel_jobs` children at a time."""

    def __init__(
        self, settings: TrainerSettings, work: Work, store: Callable[[], ArtifactStore], executor: Executor, worker: str
    ) -> None:
        self.task: asyncio.Task[None] | None = None
        self._settings = settings
        self._work = work
        self._open_store = store
        self._executor = executor
        self._worker = worker
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Begin to take jobs."""
        running = await self._work.db.read(tables.running_attempts)
        await asyncio.to_thread(_clear, self._folder, running)
        self.task = asyncio.create_task(self._run(), name="dispatcher")

    async def stop(self) -> None:
        """Kill the children and put their jobs back into the queue: the next start takes them up again."""
        if self.task is None:
            return
        self.task.cancel()
        await asyncio.wait([self.task])
        for task in self._jobs.values():
            task.cancel()
        if self._jobs:
            await asyncio.wait(list(self._jobs.values()))

    def wake(self) -> None:
        """Look at the queue, and for cancellations, now. For the event loop's own thread."""
        self._wake.set()

    @property
    def _folder(self) -> Path:
        return (self._settings.data_dir / "trainer" / "jobs").absolute()

    # the queue ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        while True:
            try:
                if await self._work.db.read(lambda connection: tables.needs_settling(connection, now=time.time())):
                    await self._work.run(self._reclaim)
                while len(self._jobs) < self._settings.trainer_parallel_jobs and await self._take():
                    pass
            except Unavailable as error:
                log.warning("dispatcher_waits", error=error.detail)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await self._wake.wait()
            self._wake.clear()

    async def _take(self) -> bool:
        if not await self._work.db.read(lambda connection: tables.has_queued(connection, now=time.time())):
            return False
        claim = await self._work.run(self._claim)
        if claim is None:
            return False
        task = asyncio.create_task(self._do(claim), name=f"job-{claim.job_id}")
        self._jobs[claim.job_id] = task
        task.add_done_callback(lambda done: self._forget(claim, done))
        return True

    def _forget(self, claim: Claim, task: "asyncio.Task[None]") -> None:
        self._jobs.pop(claim.job_id, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("job_task_failed", job_id=claim.job_id, error=repr(task.exception()))
        self._wake.set()

    def _claim(self, uow: UnitOfWork) -> Claim | None:
        claim = tables.claim_next(
            uow.connection, self._worker, now=time.time(), lease_seconds=self._settings.trainer_lease_seconds
        )
        if claim is not None:
            started = JobStarted(job_id=claim.job_id, model_id=claim.job.model, worker=self._worker, **claim.origin)
            publish(uow, started, claim.cause)
        return claim

    def _reclaim(self, uow: UnitOfWork) -> None:
        """Settle the jobs of workers that are gone, and the cancellations of jobs that nobody runs."""
        now = time.time()
        for row in tables.expired(uow.connection, now=now):
            why = f"the trainer {row.worker} that ran it is gone"
            settle_loss(uow, row, why, self._settings.trainer_attempts)
        for row in tables.cancelled_while_queued(uow.connection):
            end_cancelled(uow, row)

    # one job ------------------------------------------------------------------------------------------------------

    async def _do(self, claim: Claim) -> None:
        folder = self._folder / f"{claim.job_id}.{claim.fence}"
        attempts = self._settings.trainer_attempts
        RUNNING.inc()
        try:
            verdict = await self._attempt(claim, folder)
            succeeded = await self._persist(lambda uow: settle(uow, claim, verdict, attempts))
            if isinstance(verdict, Finished) and not succeeded:  # cancelled, or taken, after the upload
                await asyncio.to_thread(discard_version, self._open_store(), claim.artifact)
        except _Stopped as stopped:
            if stopped.cancelled:
                await self._persist(lambda uow: settle(uow, claim, Lost("it was cancelled"), attempts))
        except asyncio.CancelledError:
            await self._work.run(lambda uow: give_back(uow, claim))
            raise
        except Exception as error:  # a defect must not leave the job running until its lease ends
            log.exception("attempt_failed_unexpectedly", job_id=claim.job_id, error=repr(error))
            lost = Lost(f"the trainer failed unexpectedly, its log says more: {type(error).__name__}")
            await self._persist(lambda uow: settle(uow, claim, lost, attempts))
        finally:
            RUNNING.dec()
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def _attempt(self, claim: Claim, folder: Path) -> Verdict:
        """Run the claim's child beside its heartbeat; whichever ends first ends the other."""
        reports: list[EpochReport] = []
        training = asyncio.create_task(self._train(claim, folder, reports.append), name=f"train-{claim.job_id}")
        beating = asyncio.create_task(self._beat(claim, reports), name=f"beat-{claim.job_id}")
        try:
            await asyncio.wait({training, beating}, return_when=asyncio.FIRST_COMPLETED)
            if beating.done():
                beating.result()  # raises
            verdict = training.result()
            if reports:
                fresh = list(reports)
                await self._persist(lambda uow: self._confirm(uow, claim, fresh))
            return verdict
        finally:
            for task in (training, beating):
                task.cancel()
            await asyncio.wait({training, beating})

    async def _train(self, claim: Claim, folder: Path, on_epoch: Callable[[EpochReport], None]) -> Verdict:
        try:
            patience_seconds = self._settings.trainer_store_patience_seconds
            store = await patiently(patience_seconds, self._open_store)
            await patiently(patience_seconds, prepare, claim, folder, store, self._settings)
            ended = await self._executor.run(folder, on_epoch)
            verdict = await patiently(patience_seconds, judge_exit, claim, folder, ended, store)
            failpoint("trainer-after-upload")
            return verdict
        except Unavailable as error:
            return Lost(error.detail)
        except TrimtabError as error:
            return Rejected(error.code, error.detail)
        except OSError as error:
            return Lost(f"the trainer's folder {self._folder} can't be used: {error}")

    async def _beat(self, claim: Claim, reports: list[EpochReport]) -> None:
        """Renew the lease, write progress, notice a cancellation. Raises `_Stopped`."""
        lease_seconds = self._settings.trainer_lease_seconds
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                if reports or time.monotonic() - renewed > lease_seconds / 4:
                    await self._flush(claim, reports)
                    renewed = time.monotonic()
                else:
                    await self._work.db.read(lambda connection: _check(connection, claim))
            except Unavailable as error:
                log.warning("heartbeat_failed", job_id=claim.job_id, error=error.detail)
                if time.monotonic() - renewed > lease_seconds:
                    raise _Stopped(cancelled=False) from error

    async def _flush(self, claim: Claim, reports: list[EpochReport]) -> None:
        """Write the epochs reported so far, announce the newest, renew the lease."""
        fresh = list(reports)
        await self._work.run(lambda uow: self._confirm(uow, claim, fresh))
        del reports[: len(fresh)]

    def _confirm(self, uow: UnitOfWork, claim: Claim, fresh: list[EpochReport]) -> None:
        _check(uow.connection, claim)
        now = time.time()
        tables.renew(uow.connection, claim, now=now, lease_seconds=self._settings.trainer_lease_seconds)
        if fresh:
            tables.add_epochs(uow.connection, claim, fresh, now=now)
            progress = JobProgress(job_id=claim.job_id, model_id=claim.job.model, **fresh[-1].model_dump())
            publish(uow, progress, claim.cause)

    async def _persist(self, fn: Callable[[UnitOfWork], T]) -> T:
        """Write, waiting for a database that is away."""
        while True:
            try:
                return await self._work.run(fn)
            except Unavailable as error:
                log.warning("verdict_waits", error=error.detail)
                await asyncio.sleep(POLL_SECONDS)


def _check(connection: sa.Connection, claim: Claim) -> None:
    """Raise `_Stopped` when the claim must not go on."""
    row = tables.held(connection, claim)
    if row is None or row.cancel_requested:
        raise _Stopped(cancelled=row is not None)


def _clear(folder: Path, running: set[str]) -> None:
    """Remove what a trainer that died left behind."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.iterdir():
        if left.name not in running:
            shutil.rmtree(left, ignore_errors=True)
