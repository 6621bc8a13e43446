"""What is gone or damaged costs what it is, and nothing beside it."""

import asyncio
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from schemas.events import Scope
from schemas.predictions import prediction_id
from services.kernel.auth import Principal
from services.kernel.db import Database
from services.monitor import report, tables
from services.monitor.export import ExportRequest, export
from services.monitor.watched import Watchlist
from tests.integration.monitor.harness import MODEL, VERSION, batch
from tests.integration.monitor.world import World


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    """A monitor that owns partition 0 and knows two models."""
    one = World(db, tmp_path)
    one.register(MODEL, "other")
    one.own(0)
    return one


def test_a_version_whose_artifact_is_gone_keeps_its_window_open_and_the_others_close(world: World) -> None:
    random = np.random.default_rng(1)
    world.take(0, batch(random, 0, 50), batch(random, 0, 50, model_id="other", incarnation="o"))
    shutil.rmtree(world.folder / "artifacts" / "models" / MODEL)
    world.watchlist = Watchlist(world.db, world.store, cached=10, window_rows=1000)
    intake = world.intake()
    later = time.time() + 100
    for _ in range(2):
        staged = intake.close_due(world.held[0], [], later)
        assert staged is not None
        assert {closed.watched.model_id for closed in staged.closed} == {"other"}
        assert set(staged.windows) == {("other", VERSION)}
    buried = world.take(0, batch(random, 50, 10), batch(random, 50, 10, model_id="other", incarnation="o"))
    assert len(buried.dead) == 1
    assert buried.tallies["other", VERSION]["rows"] == 10


def test_too_few_labelled_rows_are_told_without_reading_any(world: World) -> None:
    world.take(0, batch(np.random.default_rng(2), 0, 50))
    world.label(*(prediction_id("life-1", number) for number in range(5)))
    world.db.write_now(
        lambda c: c.execute(tables.labels.update().values(block_id=1, row=0, version=VERSION, time_us=1))
    )
    shutil.rmtree(world.folder / "spool-one")  # whoever reads a block here fails
    few = export(world.db, world.spool, world.store, MODEL, ExportRequest(min_rows=6), 100)
    assert (few.dataset, few.rows) == (None, 5)
    assert export(world.db, world.spool, world.store, MODEL, ExportRequest(version="9.9.9"), 100).rows == 0


def test_the_status_names_only_the_models_that_the_key_may_see(world: World) -> None:
    random = np.random.default_rng(3)
    world.take(0, batch(random, 0, 5), batch(random, 0, 5, model_id="other", incarnation="o"))
    world.label("never-1")
    world.label("never-1", "never-2", model_id="other")
    scopes = frozenset({Scope.READ})
    for prefixes, models, waiting in (((), [MODEL, "other"], 3), (("oth",), ["other"], 2), (("OTH",), [], 0)):
        key = Principal("key", scopes, prefixes)
        shown = world.db.read_now(lambda c, key=key: report.status(c, key))  # type: ignore[misc]
        assert [model["model_id"] for model in shown] == models
        assert world.db.read_now(lambda c, key=key: report.labels_waiting(c, key)) == waiting  # type: ignore[misc]
    assert world.db.read_now(lambda c: c.execute(sa.select(sa.func.count()).select_from(tables.labels)).scalar()) == 3


def test_a_replayed_dead_letter_counts_once_however_often_it_comes(world: World) -> None:
    random = np.random.default_rng(4)
    world.take(0, batch(random, 0, 30), batch(random, 50, 30))
    world.own(0)  # as after a restart
    late = batch(random, 20, 40)
    for rows in (20, 0):
        replayed = world.take(0, late)
        assert replayed.tallies[MODEL, VERSION]["rows"] == rows
    (model,) = world.db.read_now(lambda c: report.status(c, Principal("all", frozenset())))
    assert model["versions"][VERSION]["rows"] == 80
    assert (model["missing"], model["repeated"]) == (0, 20 + 40)
    world.label(prediction_id("life-1", 40))
    asyncio.run(world.join.join_all())
    assert world.db.read_now(lambda c: report.labels_waiting(c, Principal("all", frozenset()))) == 0
