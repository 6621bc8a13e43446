"""The monitor's parts on a database and an artifact store, without a broker."""

from pathlib import Path

from schemas.codec import encode
from schemas.envelope import Envelope, new_id, to_headers
from schemas.events import Label, LabelsObserved
from schemas.predictions import PredictionBatch
from services.kernel.bus.record import Record
from services.kernel.db import Database
from services.kernel.storage.local import LocalStore
from services.kernel.uow import Work
from services.monitor import state
from services.monitor.handlers import on_labels, on_registered
from services.monitor.intake import Intake, PartitionState, Staged
from services.monitor.labels import LabelJoin
from services.monitor.spool import Spool
from services.monitor.watched import Watchlist
from tests.integration.monitor.harness import MODEL, Monitor


class World:
    """What one monitor process has; two worlds on one database are two monitors with a spool each."""

    def __init__(self, db: Database, folder: Path, name: str = "one") -> None:
        self.db, self.folder = db, folder
        self.work = Work(db, "monitor")
        self.store = LocalStore(folder / "artifacts")
        self.watchlist = Watchlist(db, self.store, cached=10, window_rows=1000)
        self.spool = Spool(folder / f"spool-{name}", 1 << 20)
        self.join = LabelJoin(self.work, self.watchlist, self.spool, window_rows=1000)
        self.held: dict[int, PartitionState] = {}

    def intake(self) -> Intake:
        """A fresh one: nothing is cached but by the watchlist."""
        return Intake(
            self.watchlist,
            lambda model_id, ids: self.db.read_now(lambda connection: state.known_ids(connection, model_id, ids)),
            group="g",
            unknown_wait_seconds=0,
            max_age_seconds=10,
            min_rows=20,
        )

    def register(self, *model_ids: str) -> None:
        """Versions with baselines."""
        told = Monitor("127.0.0.1:1", "", self.folder)
        for model_id in model_ids:
            message = told.register(model_id, publish=False)
            self.db.write_now(lambda c, m=message: self.work.within(c, lambda uow: on_registered(m, uow)))  # type: ignore[misc]

    def own(self, *partitions: int) -> None:
        """Load the partitions, as on assignment."""
        for partition in partitions:
            loaded, end = self.db.read_now(lambda c, p=partition: state.load(c, p))  # type: ignore[misc]
            self.spool.open(partition, *end)
            self.held[partition] = loaded

    def take(self, partition: int, *batches: PredictionBatch) -> Staged:
        """Count batches, as one poll."""
        first = self.held[partition].next_offset or 0
        records = [record(partition, first + number, one) for number, one in enumerate(batches)]
        staged = self.intake().take(self.held[partition], [], records)
        places = self.spool.append(partition, [block.payload for block in staged.blocks])
        self.held |= self.db.write_now(
            lambda c: self.work.within(c, lambda uow: state.save(uow, partition, self.held, staged, places))
        )
        return staged

    def label(self, *prediction_ids: str, label: str = "good", model_id: str = MODEL) -> None:
        """Labels come in."""
        labels = tuple(Label(prediction_id=name, label=label) for name in prediction_ids)
        message = LabelsObserved(model_id=model_id, labels=labels)
        self.db.write_now(lambda c: self.work.within(c, lambda uow: on_labels(message, uow)))


def record(partition: int, offset: int, message: PredictionBatch) -> Record:
    """The batch as it lies on the topic."""
    content_type, body = encode(message)
    envelope = Envelope(
        id=new_id(),
        source="/test",
        type=message.TYPE,
        time=message.rows.column("time")[0].as_py(),
        subject=message.key,
        content_type=content_type,
    )
    headers = tuple((name, value) for name, value in to_headers(envelope))
    return Record("predictions", partition, offset, 0, message.key.encode(), body, headers)
