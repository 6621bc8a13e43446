"""The fence and the retention, on SQLite and on PostgreSQL."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from schemas.baseline import build_baseline
from schemas.events import Label, LabelsObserved
from schemas.predictions import prediction_id
from services.kernel.db import Database
from services.kernel.uow import Work
from services.monitor import retention, state, tables
from services.monitor.handlers import on_labels
from services.monitor.intake import NewBlock, PartitionState, Staged
from services.monitor.labels import _matches
from services.monitor.layout import CountLayout
from services.monitor.open_windows import OpenWindow
from services.monitor.spool import Place, Spool
from services.monitor.watermark import Watermark
from services.monitor.window import Window
from tests.integration.monitor.harness import MODEL, SIGNATURE, VERSION, batch, columns

LAYOUT = CountLayout(build_baseline(columns(np.random.default_rng(0), 500), SIGNATURE))
KEY = (MODEL, VERSION)


def counted(rows: int, offset: int) -> Staged:
    window = Window.of(LAYOUT, LAYOUT.place([batch(np.random.default_rng(1), 0, rows).rows]))
    staged = Staged(
        offset,
        windows={KEY: OpenWindow(window, time.time(), skew={"age": 1})},
        marks={"a": Watermark(7, ((9, 12),), ((2, 4),))},
    )
    staged.tallies[KEY] = Counter(rows=rows)
    return staged


def saved(
    db: Database, partition: int, held: dict[int, PartitionState], staged: Staged, places: Sequence[Place] = ()
) -> dict[int, PartitionState]:
    work = Work(db, "monitor")
    return db.write_now(lambda c: work.within(c, lambda uow: state.save(uow, partition, held, staged, places)))


def test_a_state_comes_back_as_it_was_saved(db: Database) -> None:
    after = saved(db, 1, {1: PartitionState()}, counted(30, 5))[1]
    loaded, end = db.read_now(lambda connection: state.load(connection, 1))
    assert loaded.next_offset == after.next_offset == 5
    assert loaded.marks == after.marks
    assert loaded.windows[KEY].skew == {"age": 1}
    assert np.array_equal(loaded.windows[KEY].window.counts, after.windows[KEY].window.counts)
    assert end == (0, 0)


def test_a_zombie_can_not_overwrite_its_successor(db: Database) -> None:
    zombie = successor = {0: saved(db, 0, {0: PartitionState()}, counted(10, 1))[0]}
    saved(db, 0, successor, counted(20, 2))
    with pytest.raises(state.Fenced):
        saved(db, 0, zombie, counted(15, 2))
    with pytest.raises(state.Fenced):
        saved(db, 0, {0: PartitionState()}, counted(15, 9))
    loaded, _ = db.read_now(lambda connection: state.load(connection, 0))
    assert loaded.next_offset == 2
    assert loaded.windows[KEY].window.rows == 20
    total = db.read_now(lambda c: c.execute(sa.select(sa.func.sum(tables.tallies.c.rows))).scalar_one())
    assert int(total) == 30


def test_a_window_that_closes_empties_the_other_shares_or_is_fenced(db: Database) -> None:
    held = saved(db, 0, {0: PartitionState()}, counted(10, 1)) | saved(db, 1, {1: PartitionState()}, counted(10, 1))
    closing = replace(counted(3, 2), emptied={KEY})
    held |= saved(db, 1, held, closing)
    assert held[0].windows[KEY].window.rows == 0
    loaded, _ = db.read_now(lambda connection: state.load(connection, 0))
    assert loaded.windows[KEY].window.rows == 0
    stolen = {**held, 0: saved(db, 0, held, counted(5, 3))[0]}
    saved(db, 0, stolen, counted(6, 4))
    with pytest.raises(state.Fenced):
        saved(db, 1, stolen, replace(counted(3, 3), emptied={KEY}))
    loaded, _ = db.read_now(lambda connection: state.load(connection, 1))
    assert loaded.next_offset == 2


def test_labels_find_their_blocks_and_old_segments_are_forgotten(db: Database, tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", segment_bytes=1)
    spool.open(0, 0, 0)
    blocks = [NewBlock(MODEL, "life", first, 10, 0, 0, b"x" * 10) for first in (0, 10, 30)]
    blocks.append(NewBlock(MODEL, "json-0", 0, 2, 0, 0, b"y" * 10, ["mine", "yours"]))
    held = {0: PartitionState()}
    for number, block in enumerate(blocks):
        held |= saved(db, 0, held, Staged(number + 1, blocks=[block]), spool.append(0, [block.payload]))
    told = ["mine", "nobodys", *(prediction_id("life", sequence) for sequence in (0, 9, 10, 25, 39))]
    work = Work(db, "monitor")
    message = LabelsObserved(model_id=MODEL, labels=tuple(Label(prediction_id=name, label="good") for name in told))
    db.write_now(lambda c: work.within(c, lambda uow: on_labels(message, uow)))
    db.write_now(lambda c: work.within(c, lambda uow: on_labels(message, uow)))
    matches = db.read_now(_matches)
    assert sorted((match.segment, match.row) for match in matches) == [(0, 0), (0, 9), (1, 0), (2, 9), (3, 0)]
    gone = retention.prune_spool(db, spool, most_bytes=25, days=1)
    assert gone == 2
    assert sorted(match.segment for match in db.read_now(_matches)) == [2, 3]
    assert db.read_now(lambda c: state.known_ids(c, MODEL, ["mine", "other"])) == {"mine"}
    retention.prune_tables(db, history_windows=1, days=-1)
    assert db.read_now(lambda c: c.execute(sa.select(sa.func.count()).select_from(tables.labels)).scalar_one()) == 0
