"""Checks the artifacts that training jobs left in the store, and registers them.

`handlers.on_job_succeeded` records what waits; this task fetches it, verifies every digest, opens the graph in a
capped child process, and only then, in one short transaction, allots the version. Each step may be repeated: a crash
at any point leaves the row pending. A store that does not answer is waited for; an artifact that is wrong is refused
with an alert.
"""

import asyncio
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from prometheus_client import Counter

from schemas.envelope import Envelope
from schemas.events import Alert, JobSucceeded
from schemas.manifest import MANIFEST_NAME, MODEL_NAME, Manifest, has_whole_model
from services.kernel.artifacts import load_version, read_manifest
from services.kernel.content import check_content
from services.kernel.db import Database, DatabaseUnavailable
from services.kernel.errors import IntegrityFailed, InvalidInput, NotFound, TrimtabError, Unavailable
from services.kernel.storage import ArtifactStore
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork, Work
from services.registry import audit, versions
from services.registry.annotations import annotate
from services.registry.governance.changes import changes_between
from services.registry.handlers import DONE, PENDING, REFUSED
from services.registry.keeping.garbage import rescue_first
from services.registry.tables import registrations
from services.registry.untrusted.inspection import check_signature
from services.registry.untrusted.inspections import Inspector

log = get_logger(__name__)

POLL_SECONDS = 0.3
FIRST_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 60.0
ACTOR = "trainer"

REFUSALS = Counter("trimtab_registry_refused_total", "Artifacts of finished jobs that were not registered")


class Registrar:
    """One at a time, oldest first. `run` is the task."""

    def __init__(self, db: Database, work: Work, store: ArtifactStore, staging_dir: Path, inspector: Inspector) -> None:
        self._db = db
        self._work = work
        self._store = store
        self._staging_dir = staging_dir
        self._inspector = inspector

    async def run(self) -> None:
        """For ever: take the next pending registration, or wait."""
        while True:
            try:
                row = await self._db.read(_next_pending)
                if row is not None:
                    await self._one(row)
                    continue
            except DatabaseUnavailable as error:
                log.warning("registrar_waits", error=error.detail)
            await asyncio.sleep(POLL_SECONDS)

    async def _one(self, row: sa.Row[Any]) -> None:
        message = JobSucceeded.model_validate_json(row.message)
        cause = Envelope.model_validate_json(row.envelope) if row.envelope else None
        try:
            await rescue_first(self._db, (), message.artifact)
            manifest = await self._verified(message)
            version = await self._work.run(lambda uow: _complete(uow, row.seq, message, manifest), cause=cause)
        except DatabaseUnavailable:
            raise
        except Unavailable as error:
            pause = min(FIRST_PAUSE_SECONDS * 2**row.tries, MAX_PAUSE_SECONDS)
            log.warning("registration_waits", job_id=message.job_id, error=error.detail, seconds=pause)
            await self._db.write(lambda connection: _postpone(connection, row.seq, row.tries + 1, pause))
            return
        except TrimtabError as error:
            refusal = error.detail
            if await self._work.run(lambda uow: _refuse(uow, row.seq, message, refusal), cause=cause):
                REFUSALS.inc()
                log.error("artifact_refused", job_id=message.job_id, artifact=message.artifact, error=refusal)
            return
        log.info("version_registered", model_id=message.model_id, version=version, job_id=message.job_id)

    async def _verified(self, message: JobSucceeded) -> Manifest:
        """Fetch, check and open the artifact. Raises what is wrong with it."""
        try:
            await asyncio.to_thread(self._staging_dir.mkdir, parents=True, exist_ok=True)
            folder = Path(await asyncio.to_thread(tempfile.mkdtemp, dir=self._staging_dir))
        except OSError as error:
            raise Unavailable(f"{self._staging_dir} cannot be written: {error.strerror}") from error
        try:
            directory, manifest = await asyncio.to_thread(self._fetched, message, folder)
            check_signature(
                manifest.signature,
                await self._inspector.version(
                    (file.path, directory / file.path, file.sha256) for file in manifest.files
                ),
            )
            return manifest
        finally:
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    def _fetched(self, message: JobSucceeded, folder: Path) -> tuple[Path, Manifest]:
        """The artifact's folder below `folder` and its manifest, which is what the job reported. Blocking."""
        try:
            directory = load_version(self._store, message.artifact, folder, message.manifest_digest)
        except NotFound as error:
            raise IntegrityFailed(f"{message.artifact} is not complete: {error.detail}") from error
        manifest = read_manifest((directory / MANIFEST_NAME).read_bytes())
        if manifest.model_id != message.model_id:
            raise IntegrityFailed(f"{message.artifact} is of model {manifest.model_id}, not {message.model_id}")
        if manifest.content_digest != message.content_digest:
            raise IntegrityFailed(f"{message.artifact} does not have the content digest that the job reported")
        if not has_whole_model(manifest):
            raise InvalidInput(f"{message.artifact} has no {MODEL_NAME}, and no SavedModel, among its model files")
        for file in manifest.files:
            check_content(directory / file.path, file.path)
        return directory, manifest


def _next_pending(connection: sa.Connection) -> sa.Row[Any] | None:
    return connection.execute(
        sa.select(registrations)
        .where(registrations.c.state == PENDING, registrations.c.next_try_at <= time.time())
        .order_by(registrations.c.next_try_at, registrations.c.seq)
        .limit(1)
    ).first()


def _postpone(connection: sa.Connection, seq: int, tries: int, pause_seconds: float) -> None:
    connection.execute(
        registrations.update()
        .where(registrations.c.seq == seq)
        .values(tries=tries, next_try_at=time.time() + pause_seconds)
    )


def _complete(uow: UnitOfWork, seq: int, message: JobSucceeded, manifest: Manifest) -> str:
    row, created = versions.register(
        uow,
        manifest,
        manifest_digest=message.manifest_digest,
        artifact=message.artifact,
        actor=ACTOR,
    )
    if created and not manifest.changes.strip():
        _tell_changes(uow, manifest, row)
    uow.connection.execute(
        registrations.update().where(registrations.c.seq == seq).values(state=DONE, version=row.version, error=None)
    )
    return str(row.version)


def _tell_changes(uow: UnitOfWork, manifest: Manifest, row: versions.Row) -> None:
    """Write beside a version that no person registered what is different from its parent, if it has one."""
    if row.parent_version is None:
        return
    try:
        parent = versions.find_version(uow.connection, manifest.model_id, row.parent_version)
    except NotFound:  # lineage may name a version of another registry
        return
    text = changes_between(Manifest.model_validate_json(parent.manifest), manifest, parent.version)
    annotate(uow, manifest.model_id, row.version, changes=text, actor=ACTOR)


def _refuse(uow: UnitOfWork, seq: int, message: JobSucceeded, error: str) -> bool:
    """Refuse what waits still; False when another registry has settled it meanwhile."""
    waits = (registrations.c.seq == seq) & (registrations.c.state == PENDING)
    refused = uow.connection.execute(registrations.update().where(waits).values(state=REFUSED, error=error))
    if not refused.rowcount:
        return False
    audit.record(uow, ACTOR, "model.refused", message.model_id, job_id=message.job_id, error=error)
    uow.publish(
        Alert(
            alert_id=f"refused-{message.job_id}",
            model_id=message.model_id,
            state="raised",
            severity="critical",
            title=f"The model of job {message.job_id} was not registered",
            detail=error,
            cause=message.artifact,
        )
    )
    return True
