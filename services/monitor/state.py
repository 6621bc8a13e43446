"""A partition's state in the database, moved on together with its offset in one transaction."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import sqlalchemy as sa

from services.kernel.errors import Conflict
from services.kernel.failpoints import failpoint
from services.kernel.uow import UnitOfWork
from services.monitor import tables
from services.monitor.alarms import Alarms
from services.monitor.intake import NewBlock, PartitionState, Staged
from services.monitor.open_windows import OpenWindow
from services.monitor.spool import Place
from services.monitor.watermark import Watermark
from services.monitor.window import Window


class Fenced(Conflict):
    """Another monitor has moved this partition on: what this one holds in memory is of the past."""

    code = "fenced"


def load(connection: sa.Connection, partition: int) -> tuple[PartitionState, tuple[int, int]]:
    """The saved state, and (segment, size) up to which the spool was counted."""
    offset = connection.execute(
        sa.select(tables.stream_offsets.c.next_offset).where(tables.stream_offsets.c.partition == partition)
    ).scalar_one_or_none()
    opened = {
        (row.model_id, row.version): OpenWindow(
            Window.from_bytes(row.window),
            row.opened_at,
            row.last_closed,
            json.loads(row.skew),
            frozenset(json.loads(row.redacted)),
        )
        for row in connection.execute(
            sa.select(tables.open_windows).where(tables.open_windows.c.partition == partition)
        )
    }
    marks = {
        row.incarnation: Watermark(
            row.next_sequence, _ranges(row.pending_gaps), _ranges(row.missing_ranges), json.loads(row.sampled_out)
        )
        for row in connection.execute(sa.select(tables.watermarks).where(tables.watermarks.c.partition == partition))
    }
    last = connection.execute(
        sa.select(tables.blocks.c.segment, tables.blocks.c.position, tables.blocks.c.length)
        .where(tables.blocks.c.partition == partition)
        .order_by(tables.blocks.c.segment.desc(), tables.blocks.c.position.desc())
        .limit(1)
    ).one_or_none()
    end = (0, 0) if last is None else (last.segment, last.position + last.length)
    return PartitionState(offset, opened, marks), end


def save(
    uow: UnitOfWork, partition: int, held: Mapping[int, PartitionState], staged: Staged, places: Sequence[Place]
) -> dict[int, PartitionState]:
    """Save what was staged for `partition`, and publish what the alarms raise. The states that it changed.

    `held` are the states of all partitions of this process. Raises `Fenced`, and changes nothing, when the offset of a
    partition that is touched is not the one that its state was loaded with.
    """
    connection = uow.connection
    before = held[partition]
    _move_offset(connection, partition, before.next_offset, staged.next_offset)
    tables.upsert(connection, tables.open_windows, [_row(partition, *item) for item in staged.windows.items()])
    after = _empty_others(connection, partition, held, staged)
    now = time.time()
    marks = [
        {
            "partition": partition,
            "incarnation": incarnation,
            "next_sequence": mark.next_sequence,
            "pending_gaps": json.dumps(mark.pending),
            "missing_ranges": json.dumps(mark.missing),
            "sampled_out": json.dumps(dict(mark.sampled_out)),
            "at": now,
        }
        for incarnation, mark in staged.marks.items()
    ]
    tables.upsert(connection, tables.watermarks, marks)
    _add_tallies(connection, partition, staged)
    _add_blocks(connection, staged.blocks, places)
    alarms = Alarms(uow)
    history = []
    for closed in staged.closed:
        happened = alarms.pass_window(closed)
        history.append(
            {
                "model_id": closed.watched.model_id,
                "version": closed.watched.version,
                "rows": closed.window.rows,
                "start_us": closed.window.start_us,
                "end_us": closed.window.end_us,
                "digest": closed.window.digest,
                "method": closed.plan.method,
                "threshold": closed.plan.threshold,
                "scores": closed.scores.tobytes(),
                "drifted": json.dumps(closed.drifted),
                "redacted": json.dumps(sorted(closed.redacted)),
                "step": happened.value,
                "at": now,
            }
        )
    if history:
        connection.execute(tables.windows.insert(), history)
    alarms.write()
    failpoint("monitor-in-save")
    after[partition] = replace(
        before,
        next_offset=staged.next_offset,
        windows={**before.windows, **staged.windows},
        marks={**before.marks, **staged.marks},
    )
    return after


def restart(connection: sa.Connection, partition: int, old: int, new: int) -> None:
    """Move the offset from `old` to `new`, for a topic that was made anew; watermarks still tell what was counted.

    The ids that were made of offsets name other records now: they are forgotten. Raises `Fenced`.
    """
    _move_offset(connection, partition, old, new)
    table = tables.foreign_ids
    connection.execute(table.delete().where(table.c.prediction_id.startswith(f"predictions/{partition}/")))


def known_ids(connection: sa.Connection, model_id: str, ids: Sequence[str]) -> set[str]:
    """Which of `ids` were counted already."""
    table, found = tables.foreign_ids, set[str]()
    for start in range(0, len(ids), 500):
        some = list(ids[start : start + 500])
        found |= set(
            connection.execute(
                sa.select(table.c.prediction_id).where(table.c.model_id == model_id, table.c.prediction_id.in_(some))
            ).scalars()
        )
    return found


def _ranges(text: str) -> tuple[tuple[int, int], ...]:
    return tuple((start, stop) for start, stop in json.loads(text))


def _move_offset(connection: sa.Connection, partition: int, old: int | None, new: int) -> None:
    table = tables.stream_offsets
    if old is None:
        taken = connection.execute(sa.select(table.c.next_offset).where(table.c.partition == partition)).first()
        if taken is not None:
            raise Fenced(f"partition {partition} has an owner that began after this one")
        connection.execute(table.insert().values(partition=partition, next_offset=new))
        return
    moved = connection.execute(
        table.update().where(table.c.partition == partition, table.c.next_offset == old).values(next_offset=new)
    )
    if moved.rowcount != 1:
        raise Fenced(f"partition {partition} was moved on from offset {old} by another monitor")


def _empty_others(
    connection: sa.Connection, partition: int, held: Mapping[int, PartitionState], staged: Staged
) -> dict[int, PartitionState]:
    """Empty the shares that went into a closed window; the other partitions must still be this process's."""
    changed = {}
    for number, state in held.items():
        shares = {
            key: state.windows[key].emptied()
            for key in staged.emptied
            if number != partition and key in state.windows and state.windows[key].window.rows
        }
        if shares and state.next_offset is not None:
            _move_offset(connection, number, state.next_offset, state.next_offset)
            tables.upsert(connection, tables.open_windows, [_row(number, *item) for item in shares.items()])
            changed[number] = replace(state, windows={**state.windows, **shares})
    return changed


def _row(partition: int, key: tuple[str, str], opened: OpenWindow) -> dict[str, object]:
    return {
        "partition": partition,
        "model_id": key[0],
        "version": key[1],
        "window": opened.window.to_bytes(),
        "opened_at": opened.opened_at,
        "last_closed": opened.last_closed,
        "skew": json.dumps(dict(opened.skew)),
        "redacted": json.dumps(sorted(opened.redacted)),
    }


def _add_tallies(connection: sa.Connection, partition: int, staged: Staged) -> None:
    names = ("rows", "errors", "repeated", "missing", "shed", "sampled_out")
    rows = [
        {
            "partition": partition,
            "model_id": key[0],
            "version": key[1],
            **{name: tally[name] for name in names},
            "missing": tally["missing"] - tally["found"],
        }
        for key, tally in staged.tallies.items()
        if any(tally.values())
    ]
    tables.upsert(connection, tables.tallies, rows, adding=names)


def _add_blocks(connection: sa.Connection, blocks: Sequence[NewBlock], places: Sequence[Place]) -> None:
    plain: list[dict[str, object]] = []
    foreign: dict[tuple[str, str], dict[str, object]] = {}
    for block, place in zip(blocks, places, strict=False):
        row = {
            "partition": place.partition,
            "model_id": block.model_id,
            "incarnation": block.incarnation,
            "first_sequence": block.first_sequence,
            "rows": block.rows,
            "segment": place.segment,
            "position": place.position,
            "length": place.length,
            "start_us": block.start_us,
            "end_us": block.end_us,
        }
        if not block.foreign:
            plain.append(row)
            continue
        block_id = connection.execute(tables.blocks.insert().values(row).returning(tables.blocks.c.id)).scalar_one()
        for number, name in enumerate(block.foreign):
            foreign[block.model_id, name] = {
                "model_id": block.model_id,
                "prediction_id": name,
                "block_id": block_id,
                "row": number,
            }
    if plain:
        connection.execute(tables.blocks.insert(), plain)
    tables.upsert(connection, tables.foreign_ids, list(foreign.values()))
