"""Several monitors on one database, each with a spool of its own."""

import asyncio
import os
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from schemas.predictions import prediction_id
from services.kernel.db import Database
from services.kernel.uow import UnitOfWork
from services.monitor import labels, retention, tables
from services.monitor.spool import Spool
from tests.integration.monitor.harness import MODEL, batch
from tests.integration.monitor.world import World

IDS = [prediction_id("life-1", number) for number in range(40)]


def joined(db: Database) -> tuple[int, int]:
    """(labels, of them joined)."""
    column = tables.labels.c.block_id
    every, some = db.read_now(
        lambda c: c.execute(sa.select(sa.func.count(tables.labels.c.id), sa.func.count(column))).one()
    )
    return every, some


def measured(db: Database) -> int:
    """Rows in the performance windows."""
    return int(db.read_now(lambda c: c.execute(sa.select(sa.func.sum(tables.performance.c.rows))).scalar()) or 0)


def two_monitors(db: Database, folder: Path) -> tuple[World, World]:
    """The first has counted 40 labelled rows."""
    one, two = World(db, folder), World(db, folder, "two")
    one.register(MODEL)
    one.own(0)
    two.own(1)
    one.take(0, batch(np.random.default_rng(1), 0, 40))
    one.label(*IDS)
    return one, two


def test_a_label_whose_rows_lie_with_another_monitor_waits_for_that_one(db: Database, tmp_path: Path) -> None:
    one, two = two_monitors(db, tmp_path)
    asyncio.run(two.join.join_all())
    assert joined(db) == (40, 0)
    asyncio.run(one.join.join_all())
    assert joined(db) == (40, 40)
    assert measured(db) == 40


def test_a_spool_that_comes_back_gives_its_labels_their_rows(db: Database, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(labels, "RETRY_SECONDS", 0.0)
    one, _ = two_monitors(db, tmp_path)
    os.rename(tmp_path / "spool-one", tmp_path / "unmounted")
    asyncio.run(one.join.join_all())
    assert joined(db) == (40, 0)
    os.rename(tmp_path / "unmounted", tmp_path / "spool-one")
    asyncio.run(one.join.join_all())
    assert joined(db) == (40, 40)


def test_unreadable_labels_do_not_hold_up_the_others(db: Database, tmp_path: Path, monkeypatch: Any) -> None:
    one, two = two_monitors(db, tmp_path)
    two.take(1, batch(np.random.default_rng(2), 0, 10, incarnation="life-2"))
    one.label(*(prediction_id("life-2", number) for number in range(10)))
    monkeypatch.setattr(labels, "AT_ONCE", 7)
    asyncio.run(two.join.join_all())
    assert joined(db) == (50, 10)


def test_a_label_that_both_have_found_is_measured_once(db: Database, tmp_path: Path) -> None:
    one, _ = two_monitors(db, tmp_path)
    found = one.join._read(db.read_now(labels._matches))
    watched = one.join._watch(found)

    def record(uow: UnitOfWork) -> None:
        one.join._record(uow, found, watched)

    for _ in range(2):
        db.write_now(lambda c: one.work.within(c, record))
    assert joined(db) == (40, 40)
    assert measured(db) == 40


def test_another_blocks_bytes_are_not_taken_for_the_predictions(db: Database, tmp_path: Path) -> None:
    _, two = two_monitors(db, tmp_path)
    two.spool.open(0, 0, 0)  # it began on the same partition, and saved nothing
    two.spool.append(0, [batch(np.random.default_rng(3), 0, 40, incarnation="life-9").encode()])
    asyncio.run(two.join.join_all())
    assert joined(db) == (40, 0)


def test_an_open_segment_of_another_process_is_not_pruned(db: Database, tmp_path: Path) -> None:
    writer, other = (Spool(tmp_path / "shared", segment_bytes=10) for _ in range(2))
    writer.open(0, 0, 0)
    for _ in range(3):
        writer.append(0, [b"0123456789"])
    other.open(1, 0, 0)
    other.append(1, [b"0123456789"])
    assert retention.prune_spool(db, other, most_bytes=0, days=1) == 2
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == ["0-2.seg", "1-0.seg"]
    writer.close(0)
    other.open(0, 2, 10)
    other.append(0, [b"next"])
    assert [one[2:] for one in writer.files()] == [(0, 2)]
