"""Labels find their predictions, whichever comes first; labelled windows tell how well the model does.

A label waits in its table until its prediction has been counted. An id made by `schemas.predictions.prediction_id` is
found by (incarnation, sequence) among the spool's blocks; any other id by the table of foreign ids. A label whose
block can't be read here waits too: the block may lie with another monitor, or come back with its disk. Several monitors
may find the same label: the one whose update takes it measures it.
"""

import asyncio
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from schemas.envelope import new_id
from services.kernel.errors import TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.kernel.uow import UnitOfWork, Work
from services.monitor import metrics, signals, tables
from services.monitor.alarms import Alarms
from services.monitor.archive import Found, look_up, read_block
from services.monitor.performance import Course, follow, judge
from services.monitor.spool import Spool
from services.monitor.watched import Watched, Watchlist

log = get_logger(__name__)

AT_ONCE = 5000
PAUSE_SECONDS = 0.25
LOOK_SECONDS = 10.0
"""How long after news to keep looking: the transaction that brought it may still be open."""
RETRY_SECONDS = 30.0
"""How long an unreadable block is left alone, and how often to look without news: another monitor may have had it."""
AT_ONCE_IDS = 500


@dataclass(frozen=True)
class Joined:
    """A label and its prediction."""

    label_id: int
    model_id: str
    label: str
    block_id: int
    row: int
    found: Found


class LabelJoin:
    """A part of the service: joins in the background, woken by new labels and new rows."""

    def __init__(self, work: Work, watchlist: Watchlist, spool: Spool, *, window_rows: int) -> None:
        self._work = work
        self._watchlist = watchlist
        self._spool = spool
        self._window_rows = window_rows
        self._look_until = time.monotonic() + LOOK_SECONDS
        self._unreadable: dict[int, float] = {}

    def wake(self) -> None:
        """Labels or rows have come. Thread-safe."""
        self._look_until = time.monotonic() + LOOK_SECONDS

    async def run(self) -> None:
        """Join for ever."""
        looked_at = 0.0
        while True:
            await asyncio.sleep(PAUSE_SECONDS)
            now = time.monotonic()
            if now > self._look_until and now - looked_at < RETRY_SECONDS:
                continue
            looked_at = now
            try:
                await self.join_all()
            except Unavailable as error:
                self.wake()
                log.warning("labels_wait", error=error.detail)

    async def join_all(self) -> None:
        """Join every waiting label whose prediction can be read here."""
        after: int | None = 0
        while after is not None:
            after = await self._join_some(after)

    async def _join_some(self, after: int) -> int | None:
        """Join at most `AT_ONCE` labels whose ids come after `after`; the last one's id, None when no more are left."""
        matches = await self._work.db.read(lambda connection: _matches(connection, after))
        joined = await asyncio.to_thread(self._read, matches)
        if joined:
            watched = await asyncio.to_thread(self._watch, joined)
            await self._work.run(lambda uow: self._record(uow, joined, watched))
        return matches[-1].label_id if len(matches) == AT_ONCE else None

    def _read(self, matches: Sequence[Any]) -> list[Joined]:
        """What of it can be read."""
        by_block: defaultdict[int, list[Any]] = defaultdict(list)
        for match in matches:
            by_block[match.block_id].append(match)
        now = time.monotonic()
        self._unreadable = {block: until for block, until in self._unreadable.items() if now < until}
        joined = []
        for some in by_block.values():
            if some[0].block_id in self._unreadable:
                continue
            batch = read_block(self._spool, some[0])
            if batch is None:
                self._unreadable[some[0].block_id] = now + RETRY_SECONDS
                continue
            rows = [match.row for match in some]
            for match, found in zip(some, look_up(batch, rows), strict=True):
                joined.append(Joined(match.label_id, match.model_id, match.label, match.block_id, match.row, found))
        return joined

    def _watch(self, joined: Sequence[Joined]) -> dict[tuple[str, str], Watched]:
        found = {}
        for key in {(item.model_id, item.found.version) for item in joined}:
            try:
                found[key] = self._watchlist.get(*key)
            except Unavailable:
                raise
            except TrimtabError as error:
                log.warning("labels_of_unreadable_version", model_id=key[0], version=key[1], error=error.detail)
        return found

    def _record(self, uow: UnitOfWork, joined: Sequence[Joined], watched: dict[tuple[str, str], Watched]) -> None:
        labels = _still_waiting(uow.connection, [item.label_id for item in joined])
        by_version: defaultdict[tuple[str, str], list[Joined]] = defaultdict(list)
        for item in joined:
            if item.label_id in labels:
                by_version[item.model_id, item.found.version].append(replace(item, label=labels[item.label_id]))
        alarms = Alarms(uow)
        for key, items in sorted(by_version.items()):  # in one order, so that two monitors can't wait for each other
            uow.connection.execute(
                tables.labels.update()
                .where(tables.labels.c.id == sa.bindparam("of"), tables.labels.c.block_id.is_(None))
                .values(
                    block_id=sa.bindparam("in_block"),
                    row=sa.bindparam("at_row"),
                    version=key[1],
                    time_us=sa.bindparam("made"),
                ),
                [
                    {"of": item.label_id, "in_block": item.block_id, "at_row": item.row, "made": item.found.time_us}
                    for item in items
                ],
            )
            metrics.LABELS.labels(*key).inc(len(items))
            version = watched.get(key)
            if version is not None and version.signature.classes is not None:
                self._measure(uow, alarms, version, items)
        alarms.write()

    def _measure(self, uow: UnitOfWork, alarms: Alarms, watched: Watched, items: Sequence[Joined]) -> None:
        """Add labelled rows to the version's open performance window; judge each one that fills."""
        _lock_version(uow.connection, watched)
        window = open_window(uow.connection, watched.model_id, watched.version)
        classes = frozenset(watched.signature.classes or ())
        foreign = [item.label for item in items if item.label not in classes]
        if foreign:  # a mistake of the sender's, which says nothing about the model
            metrics.FOREIGN.labels(watched.model_id, watched.version).inc(len(foreign))
            log.warning("foreign_labels", model_id=watched.model_id, labels=len(foreign), example=foreign[0])
            before = alarms.state(watched.model_id, watched.version, "labels").get("foreign", 0)
            told = {"foreign": before + len(foreign), "example": foreign[0]}
            alarms.put(watched.model_id, watched.version, "labels", told)
        for item in items:
            if item.found.label is None or item.label not in classes:  # the prediction had failed, or a foreign label
                continue
            window["rows"] += 1
            window["correct"] += item.found.label == item.label
            window["start_us"] = min(window["start_us"] or item.found.time_us, item.found.time_us)
            window["end_us"] = max(window["end_us"], item.found.time_us)
            if window["rows"] >= self._window_rows:
                self._close(uow, alarms, watched, window)
                window = {"id": None, "rows": 0, "correct": 0, "start_us": 0, "end_us": 0}
        _put_window(uow.connection, watched, window, None)

    def _close(self, uow: UnitOfWork, alarms: Alarms, watched: Watched, window: dict[str, Any]) -> None:
        _put_window(uow.connection, watched, window, time.time())
        metrics.ACCURACY.labels(watched.model_id, watched.version).set(window["correct"] / window["rows"])
        if watched.accuracy is None:
            return
        judged = judge(window["correct"], window["rows"], watched.accuracy, watched.accuracy_rows)
        state = alarms.state(watched.model_id, watched.version, "performance")
        signal_id = state.get("signal_id")
        course, told = follow(Course(tuple(state.get("recent", ())), raised=signal_id is not None), judged)
        if told is not None:
            signal_id = signal_id or new_id()
            span = signals.span(window["start_us"], window["end_us"], window["rows"])
            uow.publish(signals.performance_changed(watched.model_id, watched.version, signal_id, span, judged, told))
        following = {"signal_id": signal_id if course.raised else None, "recent": list(course.recent)}
        alarms.put(watched.model_id, watched.version, "performance", following)


def open_window(connection: sa.Connection, model_id: str, version: str) -> dict[str, Any]:
    """The performance window that still fills; with `id` None when there is none."""
    table = tables.performance
    row = connection.execute(
        sa.select(table).where(table.c.model_id == model_id, table.c.version == version, table.c.closed_at.is_(None))
    ).one_or_none()
    if row is None:
        return {"id": None, "rows": 0, "correct": 0, "start_us": 0, "end_us": 0}
    return {name: getattr(row, name) for name in ("id", "rows", "correct", "start_us", "end_us")}


def _lock_version(connection: sa.Connection, watched: Watched) -> None:
    """Until the transaction ends, one monitor measures this version: a row that is not there yet can't be locked."""
    table = tables.versions
    connection.execute(
        sa.select(table.c.version)
        .where(table.c.model_id == watched.model_id, table.c.version == watched.version)
        .with_for_update()
    )


def _still_waiting(connection: sa.Connection, label_ids: Sequence[int]) -> dict[int, str]:
    """The labels (id -> text as of now) that no other monitor has joined meanwhile; they are ours until the end."""
    table, found = tables.labels.c, dict[int, str]()
    ordered = sorted(label_ids)
    for start in range(0, len(ordered), AT_ONCE_IDS):
        some = ordered[start : start + AT_ONCE_IDS]
        waiting = (
            sa.select(table.id, table.label)
            .where(table.id.in_(some), table.block_id.is_(None))
            .order_by(table.id)
            .with_for_update()
        )
        found |= {row.id: row.label for row in connection.execute(waiting)}
    return found


def _put_window(connection: sa.Connection, watched: Watched, window: dict[str, Any], closed_at: float | None) -> None:
    values = {name: window[name] for name in ("rows", "correct", "start_us", "end_us")} | {"closed_at": closed_at}
    if window["id"] is not None:
        connection.execute(tables.performance.update().where(tables.performance.c.id == window["id"]).values(values))
    elif window["rows"]:
        connection.execute(
            tables.performance.insert().values(model_id=watched.model_id, version=watched.version, **values)
        )


def _matches(connection: sa.Connection, after: int = 0) -> list[Any]:
    """Waiting labels, ids after `after`, whose predictions are in a spool, oldest first; at most `AT_ONCE`."""
    label, block, foreign = tables.labels.c, tables.blocks.c, tables.foreign_ids.c
    where = (block.partition, block.segment, block.position, block.length)
    place = (*where, block.incarnation, block.first_sequence, block.rows)
    of_label = (label.id.label("label_id"), label.model_id, label.label, block.id.label("block_id"), block.id)
    other = tables.blocks.alias()
    nearest = (
        sa.select(other.c.id)
        .where(other.c.incarnation == label.incarnation, other.c.first_sequence <= label.sequence)
        .order_by(other.c.first_sequence.desc(), other.c.id.desc())
        .limit(1)
        .correlate(tables.labels)
        .scalar_subquery()
    )
    own = (
        sa.select(*of_label, (label.sequence - block.first_sequence).label("row"), *place)
        .select_from(tables.labels)
        .join(tables.blocks, block.id == nearest)
        .where(
            label.block_id.is_(None),
            label.id > after,
            label.incarnation.is_not(None),
            block.first_sequence + block.rows > label.sequence,
            block.model_id == label.model_id,
        )
        .order_by(label.id)
        .limit(AT_ONCE)
    )
    given = (
        sa.select(*of_label, foreign.row.label("row"), *place)
        .select_from(tables.labels)
        .join(
            tables.foreign_ids,
            sa.and_(foreign.model_id == label.model_id, foreign.prediction_id == label.prediction_id),
        )
        .join(tables.blocks, block.id == foreign.block_id)
        .where(label.block_id.is_(None), label.id > after)
        .order_by(label.id)
        .limit(AT_ONCE)
    )
    found: dict[int, Any] = {}
    for statement in (own, given):
        for row in connection.execute(statement):
            found.setdefault(row.label_id, row)
    return [found[label_id] for label_id in sorted(found)][:AT_ONCE]


def label_text(label: str | float) -> str:
    """How a label is stored and compared: classes are strings.

    >>> label_text("normal"), label_text(3.0)
    ('normal', '3')
    """
    if isinstance(label, str):
        return label
    return str(int(label)) if math.isfinite(label) and label == int(label) else str(label)
