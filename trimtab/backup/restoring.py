"""`trimtab restore`: a backup into an empty installation that does not run.

Everything is checked before anything is written: the backup whole and undamaged, the databases empty, nothing running,
no other bytes where an artifact goes, no event in Kafka that the backup does not know. What is written first (offsets,
artifacts, files) may be written twice, so an interrupted restore is simply begun again; the databases come last, all of
them or none.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import sqlalchemy as sa

from schemas.topics import TOPICS
from services.kernel.bus import replay
from services.kernel.bus.offsets import Offsets, Present, compare, records_after, remake_topics, set_offsets
from services.kernel.bus.replay import Selection
from services.kernel.errors import Undecodable
from services.kernel.settings import SERVICES as PROCESSES
from services.kernel.settings import Settings
from services.kernel.storage import open_store
from services.kernel.tables import outbox
from services.monitor.state import restart
from services.monitor.tables import stream_offsets
from services.registry import audit
from services.registry.search.restored import find_again
from trimtab.backup import databases, objects, record
from trimtab.backup.errors import BackupError, NotEmpty
from trimtab.backup.kafka import ask, kafka_of
from trimtab.backup.lines import reading
from trimtab.backup.record import Record
from trimtab.backup.report import Report
from trimtab.backup.saving import Show, read_saved_offsets
from trimtab.local.data_lock import DataLock
from trimtab.local.settings import LocalSettings

PREDICTIONS = "predictions"
NOT_FROM_DATABASES = (PREDICTIONS, "labels", "deployment-status")
"""Topics that no service's outbox feeds."""
NO_OFFSETS = Offsets(partitions=(), groups={})
TOLD = tuple(topic.name for topic in TOPICS if topic.name not in NOT_FROM_DATABASES)
_ANSWER_SECONDS = 1.0


@dataclass(frozen=True)
class Meeting:
    """How the backup meets the topics of now: partitions that exist, by `topic/partition`."""

    offsets: Offsets
    present: Mapping[str, Present]

    def is_same(self, name: str) -> bool:
        """Whether the partition is the one of the backup."""
        return name in self.present and self.present[name].same

    def new_topics(self) -> list[str]:
        """Topics of the services' outboxes that were made anew, or are not there."""
        known = {partition.topic for partition in self.offsets.partitions}
        changed = {partition.topic for partition in self.offsets.partitions if not self.is_same(partition.name)}
        return [topic for topic in TOLD if topic in changed or topic not in known]

    def starts(self, group: str) -> dict[str, int]:
        """Where a group goes on: where it stood, or at the beginning of what is new."""
        committed = self.offsets.groups[group]
        return {
            name: max(committed[name], self.present[name].first) if self.is_same(name) else self.present[name].first
            for name in committed
            if name in self.present
        }


def restore(
    settings: LocalSettings, folder: Path, show: Show, *, without_kafka: bool = False, renew_topics: bool = False
) -> Report:
    """Bring the backup in `folder` back. With `renew_topics` those with later events than the backup's are made anew.

    Raises `BackupError` (see `trimtab.backup.errors`), `LocalError`, `Unavailable` and `OSError`.
    """
    report, made = Report(), record.read(folder)
    with report.timed("checks"), show("checking the backup", "bytes") as tell:
        record.check_parts(folder, made)
        databases.check_revisions(made.databases)
        objects.check(folder, (made.artifacts, made.files), tell)
    saved = read_saved_offsets(folder, made.offsets) if made.offsets is not None else None
    with _stopped(settings):
        databases.check_empty(settings)
        store = open_store(settings)
        there = objects.check_store(folder, made.artifacts, store)
        objects.check_folder(folder, made.files, settings.data_dir)
        with report.timed("offsets"):
            meeting = Meeting(saved or NO_OFFSETS, {})
            if not without_kafka:
                meeting = _meet(settings, folder, made, saved, renew_topics)
        with report.timed("artifacts"), show("artifacts", "bytes") as tell:
            objects.to_store(folder, made.artifacts, store, there, tell)
        with report.timed("files"):
            objects.to_folder(folder, made.files, settings.data_dir)
        finish = _Finish(meeting)
        with report.timed("databases"), show("databases", "rows") as tell:
            databases.restore(settings, folder, made.databases, finish, tell)
    report.tell_of(made, saved)
    report.facts |= {"events_told_again": finish.told_again, "audit_broken_at": finish.audit_broken_at}
    if finish.audit_broken_at is not None:
        report.notes.append(f"the audit trail is broken at row {finish.audit_broken_at}: it was so when it was saved")
    return report


@contextmanager
def _stopped(settings: LocalSettings) -> Iterator[None]:
    """The installation, which does not run and will not be started meanwhile."""
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        lock = DataLock(settings.data_dir.absolute() / "cluster.lock")
        lock.acquire()
    except OSError as error:
        raise BackupError(
            f"{error.filename or settings.data_dir} can't be used ({error.strerror or error}): name another folder with"
            " --data-dir or TRIMTAB_DATA_DIR"
        ) from error
    try:
        for process in PROCESSES:
            url = settings.url_of(process)
            if _answers(f"{url}/healthz"):
                raise BackupError(
                    f"the {process} service runs at {url}: stop every service first; if that is another installation,"
                    f" give this one other ports (TRIMTAB_{process.upper()}_PORT)"
                )
        yield
    finally:
        lock.release()


def _answers(url: str) -> bool:
    try:
        httpx.get(url, timeout=_ANSWER_SECONDS, trust_env=False)
    except httpx.HTTPError:
        return False
    return True


# Kafka ------------------------------------------------------------------------------------------------------------


def _meet(settings: LocalSettings, folder: Path, made: Record, saved: Offsets | None, renew: bool) -> Meeting:
    """How the backup meets Kafka, the groups set to where they go on. Raises `NotEmpty` for later events."""
    with kafka_of(settings) as reached:
        if reached is None:
            return Meeting(saved or NO_OFFSETS, {})
        if saved is None:
            raise BackupError(
                f"the backup was made without Kafka, so it can't be told what {reached.kafka_bootstrap} has handled:"
                " restore it --without-kafka, with topics that are new (a new Kafka, or TRIMTAB_TOPIC_PREFIX)"
            )
        meeting = Meeting(saved, ask(compare(reached, saved.partitions)))
        if later := ask(_later(reached, folder, made, meeting)):
            if not renew:
                topics = ", ".join(f"{count} in {topic}" for topic, count in sorted(later.items()))
                raise NotEmpty(
                    f"Kafka holds events that were published after the backup was made ({topics}): the restored"
                    " services would give their next ones the same revisions, and consumers would ignore those; have"
                    " these topics deleted and made anew with --renew-topics, or name others with TRIMTAB_TOPIC_PREFIX"
                )
            ask(remake_topics(reached, sorted(later)))
            meeting = Meeting(saved, ask(compare(reached, saved.partitions)))
        for group in saved.groups:
            ask(set_offsets(reached, group, meeting.starts(group)))
        return meeting


async def _later(settings: Settings, folder: Path, made: Record, meeting: Meeting) -> Counter[str]:
    """Topic -> events of the saved services that their saved outboxes do not know."""
    starts = {
        partition.name: partition.end if meeting.is_same(partition.name) else 0
        for partition in meeting.offsets.partitions
        if partition.topic in TOLD and partition.name in meeting.present
    }
    sources = {f"/trimtab/{database.service}" for database in made.databases}
    found: dict[str, str] = {}
    async for one in records_after(settings, starts):
        try:
            envelope, _ = one.envelope()
        except Undecodable:
            continue
        if envelope.source in sources:
            found[envelope.id] = one.topic
    if found:
        for event in _saved_events(folder, made):
            found.pop(event, None)
    return Counter(found.values())


def _saved_events(folder: Path, made: Record) -> Iterator[str]:
    """The ids of all saved outboxes."""
    for database in made.databases:
        for table in database.tables:
            if table.name == outbox.name:
                with reading(folder / table.part.path) as documents:
                    place = next(documents)["columns"].index(outbox.c.id.name)
                    for row in documents:
                        yield row[place]


# what each database needs -----------------------------------------------------------------------------------------


class _Finish:
    """Called with each restored database before it is committed."""

    def __init__(self, meeting: Meeting) -> None:
        self._meeting = meeting
        self.told_again = 0
        self.audit_broken_at: int | None = None

    def __call__(self, connection: sa.Connection, service: str) -> None:
        self.told_again += replay.mark(connection, Selection(self._meeting.new_topics()))
        if service == "registry":
            find_again(connection)
            self.audit_broken_at = audit.broken_at(connection)
        elif service == "monitor":
            _read_new_predictions(connection, self._meeting)


def _read_new_predictions(connection: sa.Connection, meeting: Meeting) -> None:
    """A topic that was made anew is read from its beginning: its offsets are not those that were counted."""
    for row in connection.execute(sa.select(stream_offsets)).all():
        name = f"{PREDICTIONS}/{row.partition}"
        if not meeting.is_same(name):
            first = meeting.present[name].first if name in meeting.present else 0
            restart(connection, row.partition, row.next_offset, first)
