"""From the records of one poll of one partition to what has to be saved.

Pure computing, but for the look-ups of versions and of known ids.
Nothing here changes the state it is given: if the save fails, the same records are taken in again.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from schemas.envelope import STRUCTURED
from schemas.predictions import Prediction, PredictionBatch
from services.kernel.bus.inbox import Failure
from services.kernel.bus.record import REPLAY_GROUP, Record
from services.kernel.errors import TrimtabError, Undecodable
from services.kernel.telemetry import get_logger
from services.monitor.batch_rows import by_version, fitting, flagged, rows_in, span, without_errors
from services.monitor.json_rows import JsonRow, to_batch
from services.monitor.open_windows import Counted, OpenWindow, close, count
from services.monitor.verdicts import ClosedWindow
from services.monitor.watched import UnknownVersion, Watched, Watchlist
from services.monitor.watermark import Watermark, advance

log = get_logger(__name__)

MAX_ID = 256
MAX_SEQUENCE = 2**62
FORGET_UNKNOWN_SECONDS = 600.0
RETRY_LOAD_SECONDS = 30.0
"""A window whose version can't be loaded is tried again this much later."""

Key = tuple[str, str]
"""(model id, version)."""


@dataclass(frozen=True)
class PartitionState:
    """Everything that moves with a partition's offset. `next_offset` is None before the first save."""

    next_offset: int | None = None
    windows: Mapping[Key, OpenWindow] = field(default_factory=dict)
    marks: Mapping[str, Watermark] = field(default_factory=dict)


@dataclass(frozen=True)
class NewBlock:
    """Raw rows for the spool; `foreign` are ids that were given from outside, by row."""

    model_id: str
    incarnation: str
    first_sequence: int
    rows: int
    start_us: int
    end_us: int
    payload: bytes
    foreign: Sequence[str] = ()


@dataclass
class Staged:
    """What one poll amounts to, ready to be saved. `wait` says why it ends before the last record.

    `emptied` are the versions whose shares in the other partitions went into a window that closed; `flagged` counts, by
    model and clause, rows whose input broke the contract and was answered.
    """

    next_offset: int
    windows: dict[Key, OpenWindow] = field(default_factory=dict)
    marks: dict[str, Watermark] = field(default_factory=dict)
    tallies: defaultdict[Key, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    flagged: defaultdict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    closed: list[ClosedWindow] = field(default_factory=list)
    emptied: set[Key] = field(default_factory=set)
    blocks: list[NewBlock] = field(default_factory=list)
    dead: list[Failure] = field(default_factory=list)
    wait: UnknownVersion | None = None


@dataclass
class _Group:
    watched: Watched
    batches: list[pa.RecordBatch] = field(default_factory=list)
    json_rows: list[JsonRow] = field(default_factory=list)
    skew: Counter[str] = field(default_factory=Counter)
    redacted: set[str] = field(default_factory=set)


class Intake:
    """Takes in records. One thread at a time."""

    def __init__(
        self,
        watchlist: Watchlist,
        known_ids: Callable[[str, Sequence[str]], set[str]],
        *,
        group: str,
        unknown_wait_seconds: float,
        max_age_seconds: float,
        min_rows: int,
    ) -> None:
        self._watchlist = watchlist
        self._known_ids = known_ids
        self._group = group
        self._unknown_wait_seconds = unknown_wait_seconds
        self._max_age_seconds = max_age_seconds
        self._min_rows = min_rows
        self._unknown_since: dict[Key, float] = {}
        self._unloadable_until: dict[Key, float] = {}
        self._began_at = time.time()

    def take(self, state: PartitionState, others: Sequence[PartitionState], records: Sequence[Record]) -> Staged:
        """Stage `records` (in order) on top of `state`; `others` are the other partitions of this process.

        Raises `Unavailable` when a store does not answer.
        """
        staged, groups = Staged(records[0].offset), dict[Key, _Group]()
        for record in records:
            try:
                self._record(state, staged, groups, record)
            except UnknownVersion as error:
                if not self._waited_out(record, error):
                    staged.wait = error
                    break
                staged.dead.append(Failure(record, error, retriable=False))
            except TrimtabError as error:
                if error.retriable:
                    raise
                staged.dead.append(Failure(record, error, retriable=False))
            staged.next_offset = record.offset + 1
        partition = records[0].partition
        for key, group in groups.items():
            self._json(staged, key, group, partition)
            self._count(state, others, staged, key, group)
        return staged

    def close_due(self, state: PartitionState, others: Sequence[PartitionState], now: float) -> Staged | None:
        """What closing the windows that are due amounts to; None when none is. One that can't be judged stays open."""
        staged = Staged(state.next_offset or 0)
        for key, share in state.windows.items():
            plan = self._watchlist.plan(key[0]).drift_detection
            if share.opened_at is None or not plan.enabled or not now - share.opened_at >= self._max_age_seconds > 0:
                continue
            elsewhere = _elsewhere(others, key)
            if share.window.rows + sum(other.window.rows for other in elsewhere) < self._min_rows:
                continue
            watched = self._loadable(key)
            if watched is not None:
                self._put(staged, key, close(watched, plan, share, elsewhere))
        return staged if staged.closed else None

    def _loadable(self, key: Key) -> Watched | None:
        """The version; None, logged and left alone for a while, when its artifact is gone, damaged or out of reach."""
        now = time.monotonic()
        if now < self._unloadable_until.get(key, now):
            return None
        self._unloadable_until.pop(key, None)
        try:
            return self._watchlist.get(*key)
        except TrimtabError as error:
            self._unloadable_until[key] = now + RETRY_LOAD_SECONDS
            log.error("window_left_open", model_id=key[0], version=key[1], error=error.detail)
            return None

    # one record ---------------------------------------------------------------------------------------------------

    def _record(self, state: PartitionState, staged: Staged, groups: dict[Key, _Group], record: Record) -> None:
        wanted = record.header(REPLAY_GROUP)
        if wanted is not None and wanted.decode(errors="replace") != self._group:
            return
        envelope, message = record.message()
        if isinstance(message, PredictionBatch):
            self._batch(state, staged, groups, message, record)
        elif isinstance(message, Prediction):
            version = message.version or self._watchlist.default_version(message.model_id)
            group = self._group_of(groups, (message.model_id, version))
            name = message.prediction_id or envelope.id
            _check_id(name)
            group.json_rows.append(JsonRow(message, name, message.time or envelope.time))

    def _batch(
        self, state: PartitionState, staged: Staged, groups: dict[Key, _Group], batch: PredictionBatch, record: Record
    ) -> None:
        rows = batch.rows
        absent = {"version", "time"} - set(rows.schema.names)
        if absent:
            raise Undecodable(f"the batch has no column {', '.join(sorted(absent))}")
        last = max((gap.first_sequence + gap.rows for gap in batch.gaps), default=0)
        if max(last, batch.first_sequence + rows.num_rows) > MAX_SEQUENCE:
            raise Undecodable(f"a sequence number is over {MAX_SEQUENCE}")
        foreign = rows.column("prediction_id").to_pylist() if "prediction_id" in rows.schema.names else ()
        for name in foreign:
            _check_id(name)
        parts = by_version(rows)
        found = {version: self._group_of(groups, (batch.model_id, version)) for version in parts}
        told = next(iter(found.values()), None)
        if batch.skew and told is None:
            told = self._group_of(groups, (batch.model_id, self._watchlist.default_version(batch.model_id)))
        mark = staged.marks.get(batch.incarnation) or state.marks.get(batch.incarnation) or Watermark()
        passage = advance(mark, batch.first_sequence, rows.num_rows, batch.gaps)
        staged.marks[batch.incarnation], left_out = passage.mark.hear(batch.sampled_out)
        for version, some in left_out.items():
            staged.tallies[batch.model_id, version].update(sampled_out=some)
        staged.tallies[batch.model_id, ""].update(
            repeated=passage.repeated,
            missing=passage.missing,
            shed=passage.shed,
            found=passage.found,
            lost=passage.lost,
        )
        if rows.num_rows and passage.repeated == rows.num_rows:
            return
        if passage.repeated:
            parts = by_version(rows_in(rows, passage.new))
        for version, part in parts.items():
            group = found[version]
            rows_that_fit, misfits = fitting(part, group.watched.signature, group.watched.schema, batch.redacted)
            group.batches.append(rows_that_fit)
            group.skew.update(misfits)
            group.redacted.update(batch.redacted)
            staged.flagged[batch.model_id].update(flagged(part))
        if told is not None and not passage.repeated:
            told.skew.update(batch.skew)
        if rows.num_rows:
            start_us, end_us = span(rows)
            block = NewBlock(
                batch.model_id,
                batch.incarnation,
                batch.first_sequence,
                rows.num_rows,
                start_us,
                end_us,
                _body(record),
                foreign,
            )
            staged.blocks.append(block)

    def _group_of(self, groups: dict[Key, _Group], key: Key) -> _Group:
        if key not in groups:
            groups[key] = _Group(self._watchlist.get(*key))
        return groups[key]

    def _waited_out(self, record: Record, error: UnknownVersion) -> bool:
        """Whether this version, or this record since it was sent, has been waited for long enough.

        The second keeps a row of records of ever new unknown models from holding a partition up one after the other.
        """
        if time.time() >= max(record.timestamp_ms / 1000, self._began_at) + self._unknown_wait_seconds:
            return True
        now, key = time.monotonic(), (record.topic, str(error))
        self._unknown_since = {
            k: at
            for k, at in self._unknown_since.items()
            if now - at < self._unknown_wait_seconds + FORGET_UNKNOWN_SECONDS
        }
        return now - self._unknown_since.setdefault(key, now) >= self._unknown_wait_seconds

    # a version's rows ---------------------------------------------------------------------------------------------

    def _json(self, staged: Staged, key: Key, group: _Group, partition: int) -> None:
        """Turn the version's JSON rows into a batch and a block; an id that was counted before is a repeat."""
        if not group.json_rows:
            return
        by_id = {row.prediction_id: row for row in reversed(group.json_rows)}
        known = self._known_ids(key[0], list(by_id))
        rows = [row for row in reversed(by_id.values()) if row.prediction_id not in known]
        staged.tallies[key[0], ""].update(repeated=len(group.json_rows) - len(rows))
        if not rows:
            return
        batch, skew = to_batch(rows, group.watched.signature, key[1])
        group.batches.append(batch)
        group.skew.update(skew)
        start_us, end_us = span(batch)
        incarnation = f"json-{partition}"
        payload = PredictionBatch(
            model_id=key[0], replica="json", incarnation=incarnation, first_sequence=0, rows=batch
        ).encode()
        ids = [row.prediction_id for row in rows]
        staged.blocks.append(NewBlock(key[0], incarnation, 0, len(rows), start_us, end_us, payload, ids))

    def _count(
        self, state: PartitionState, others: Sequence[PartitionState], staged: Staged, key: Key, group: _Group
    ) -> None:
        counted = sum(batch.num_rows for batch in group.batches)
        good = [part for batch in group.batches if (part := without_errors(batch)).num_rows]
        errors = counted - sum(batch.num_rows for batch in good)
        staged.tallies[key].update(rows=counted, errors=errors)
        layout, plan = group.watched.layout, self._watchlist.plan(key[0]).drift_detection
        if layout is None or not plan.enabled:
            return
        share = state.windows.get(key) or OpenWindow.empty(layout)
        share = replace(
            share,
            skew=dict(Counter(share.skew) + group.skew),
            redacted=share.redacted | frozenset(group.redacted),
        )
        redacted = frozenset(group.redacted)
        self._put(staged, key, count(group.watched, plan, share, _elsewhere(others, key), good, time.time(), redacted))

    @staticmethod
    def _put(staged: Staged, key: Key, counted: Counted) -> None:
        staged.windows[key] = counted.share
        staged.closed += counted.closed
        if counted.closed:
            staged.emptied.add(key)


def _elsewhere(others: Sequence[PartitionState], key: Key) -> list[OpenWindow]:
    return [other.windows[key] for other in others if key in other.windows]


def _check_id(name: str | None) -> None:
    if not name or len(name) > MAX_ID or "\0" in name:
        raise Undecodable(f"a prediction id must be 1 to {MAX_ID} characters without a NUL")


def _body(record: Record) -> bytes:
    """The Arrow stream as it came; unwrapped from a structured event."""
    content_type = record.header("content-type") or b""
    if content_type.startswith(STRUCTURED.encode()):
        return record.envelope()[1]
    return record.value or b""
