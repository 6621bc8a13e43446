"""`trimtab backup`: an installation into a folder, while it runs.

First the bytes of the artifact store, which takes the time; then the consumers' offsets, the databases as of one
moment, and the artifacts once more. So everything that a row names is there, be it made or removed meanwhile, and every
event that a database does not know yet lies behind the offsets. `backup.json` is written last: until then the folder
holds the backup before, whole.
"""

import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from services.kernel.bus.offsets import Offsets, read_offsets
from services.kernel.errors import Unavailable
from services.kernel.settings import Settings
from services.kernel.storage import open_store
from services.monitor.stream import GROUP as PREDICTIONS_GROUP
from trimtab.backup import databases, named, objects, record
from trimtab.backup.databases import SERVICES, Tell
from trimtab.backup.errors import BackupError, BackupUnusable
from trimtab.backup.kafka import ask, kafka_of
from trimtab.backup.lines import Lines, reading
from trimtab.backup.objects import Copies, Listed
from trimtab.backup.record import RUNS, DatabasePart, ObjectsPart, Part, Record
from trimtab.backup.report import Report
from trimtab.local.data_lock import DataLock
from trimtab.local.errors import DataDirBusy, LocalError
from trimtab.local.settings import LocalSettings

GROUPS = (*SERVICES, PREDICTIONS_GROUP)
"""The consumer groups of all services."""
LOCAL_FILES = ("serving.json", "monitor-spool/*.seg")
"""Files of the data directory that are nowhere else: the server's configuration, the predictions not yet archived."""
LOCK = "backup.lock"
WITHOUT_KAFKA = "--without-kafka saves everything but the consumers' offsets"

Show = Callable[[str, str], AbstractContextManager[Tell]]
"""`(what, unit)` -> a context whose function is told how far it is."""


def back_up(settings: LocalSettings, folder: Path, show: Show, *, without_kafka: bool = False) -> Report:
    """Save the installation in `folder`; what a backup there has saved already is not copied again.

    Bytes that a saved row names are never forgotten: what the store has lost or damaged stays as it was saved before.

    Raises `BackupError`, `Unavailable` (a database, the store or Kafka does not answer) and `OSError`.
    """
    if folder.resolve().is_relative_to(settings.data_dir.resolve()):
        raise BackupError(
            f"{folder} lies inside the installation's own folder {settings.data_dir}: what destroys one destroys both;"
            " name a folder elsewhere"
        )
    with _mine(folder), ExitStack() as stack:
        kafka = None if without_kafka else _kafka(settings, stack)
        before = _before(folder)
        run = f"{RUNS}/{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{uuid.uuid4().hex[:6]}"
        report, began = Report(), datetime.now(UTC)
        store, artifacts, files = open_store(settings), Copies(), Copies()
        known, since = _known(folder, before, lambda record: record.artifacts)
        with report.timed("artifacts"), show("artifacts", "bytes") as tell:
            objects.copy(folder, objects.in_store(store), artifacts, known, since, tell)
        with report.timed("offsets"):
            offsets = None if kafka is None else _offsets(kafka)
        with report.timed("databases"), show("databases", "rows") as tell:
            saved = databases.save(settings, folder, run, tell)
        if not saved and not artifacts.listed:
            raise BackupError(
                f"there is no installation to save: no database at {settings.data_dir.absolute()} and no artifact in"
                f" {store.name}; name the installation with --data-dir or TRIMTAB_DATA_DIR"
            )
        _refuse_to_lose(folder, before, saved)
        with report.timed("files"):
            known, since = _known(folder, before, lambda record: record.files)
            sources = objects.in_folder(settings.data_dir, LOCAL_FILES)
            objects.copy(folder, sources, files, known, since, _quiet)
        with report.timed("artifacts"), show("artifacts made meanwhile", "bytes") as tell:
            objects.copy(folder, objects.in_store(store), artifacts, artifacts.listed.copy(), began.timestamp(), tell)
        objects.complete(folder, artifacts, named.in_backup(folder, saved))
        made = Record(
            release=version("trimtab"),
            made_at=began,
            run=run,
            topic_prefix=settings.topic_prefix,
            databases=tuple(saved),
            artifacts=objects.write_list(folder, run, "artifacts", artifacts),
            files=objects.write_list(folder, run, "files", files),
            offsets=_write_offsets(folder, run, offsets) if offsets is not None else None,
        )
        record.write(folder, made)
        _forget_the_rest(folder, made)
    report.tell_of(made, offsets)
    report.kept = tuple(sorted(artifacts.kept))
    report.note(
        f"lost or damaged in the store, kept as an earlier backup saved it (`trimtab restore {folder} --artifacts-only`"
        " puts it back)",
        report.kept,
    )
    report.new = {"artifacts": (artifacts.new, artifacts.new_bytes), "files": (files.new, files.new_bytes)}
    return report


def read_saved_offsets(folder: Path, part: Part) -> Offsets:
    """The offsets of a backup. Raises `BackupUnusable`."""
    with reading(folder / part.path) as documents:
        return Offsets.model_validate(next(documents))


def check(folder: Path, show: Show) -> Report:
    """Read the whole backup and compare every digest. Raises `BackupUnusable`."""
    report, made = Report(), record.read(folder)
    with report.timed("databases"):
        record.check_parts(folder, made)
    with report.timed("artifacts"), show("artifacts", "bytes") as tell:
        objects.check(folder, (made.artifacts, made.files), tell)
    offsets = read_saved_offsets(folder, made.offsets) if made.offsets is not None else None
    report.tell_of(made, offsets)
    return report


@contextmanager
def _mine(folder: Path) -> Iterator[None]:
    """The folder, for one backup at a time; it must be empty at first, since what does not belong to it is removed."""
    if folder.exists() and not folder.is_dir():
        raise BackupError(f"{folder} is no folder: name one, empty or with a backup in it")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = folder / LOCK
    if not lock.exists() and not (folder / record.NAME).exists() and any(folder.iterdir()):
        raise BackupError(
            f"{folder} holds other things than a backup: name an empty folder, or one with a backup in it"
        )
    held = DataLock(lock)
    try:
        held.acquire()
    except DataDirBusy as error:
        raise BackupError(f"another backup is being written into {folder}: wait for its end") from error
    try:
        yield
    finally:
        held.release()


def _before(folder: Path) -> Record | None:
    """The backup that is there; None when there is none that could be used."""
    try:
        return record.read(folder)
    except BackupUnusable:
        return None


def _refuse_to_lose(folder: Path, before: Record | None, saved: Sequence[DatabasePart]) -> None:
    """Raise `BackupError` when a database that the backup before holds is not there any more."""
    absent = {part.service for part in before.databases} - {part.service for part in saved} if before else set()
    if absent:
        raise BackupError(
            f"the backup in {folder} holds the database of {', '.join(sorted(absent))}, which this installation lacks:"
            " name the installation with --data-dir, TRIMTAB_DATA_DIR or TRIMTAB_DATABASE_URL, or another folder"
        )


def _known(
    folder: Path, before: Record | None, part_of: Callable[[Record], ObjectsPart]
) -> tuple[Mapping[str, Listed], float]:
    """What the backup before lists, and when it began."""
    if before is None:
        return {}, 0.0
    try:
        return {one.name: one for one in objects.listed(folder, part_of(before))}, before.made_at.timestamp()
    except BackupUnusable:
        return {}, 0.0


def _kafka(settings: LocalSettings, stack: ExitStack) -> Settings | None:
    """What reaches the installation's Kafka, which has answered; None when it has never run."""
    try:
        reached = stack.enter_context(kafka_of(settings))
    except LocalError as error:
        raise BackupError(f"{error.detail}; {WITHOUT_KAFKA}") from error
    if reached is not None:
        _offsets(reached)
    return reached


def _offsets(reached: Settings) -> Offsets:
    try:
        return ask(read_offsets(reached, GROUPS))
    except Unavailable as error:
        raise Unavailable(f"{error.detail}; {WITHOUT_KAFKA}") from error


def _write_offsets(folder: Path, run: str, offsets: Offsets) -> Part:
    lines = Lines(folder, f"{run}/offsets.jsonl.gz")
    lines.write(offsets.model_dump(mode="json"))
    return lines.close()


def _forget_the_rest(folder: Path, made: Record) -> None:
    """Remove what only earlier or interrupted backups name."""
    for path in (folder / RUNS).iterdir():
        if path != folder / made.run:
            shutil.rmtree(path)
    kept = {one.sha256 for part in (made.artifacts, made.files) for one in objects.listed(folder, part)}
    objects.forget_others(folder, kept)
    shutil.rmtree(folder / objects.INCOMING, ignore_errors=True)


def _quiet(done: int, total: int) -> None:
    """For what takes no time."""
