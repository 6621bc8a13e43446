"""What the monitor makes of logs whose owner has them sampled, redacted or flagged."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import sqlalchemy as sa

from schemas.predictions import CATEGORY, PredictionBatch, redacted_in
from services.kernel.auth import Principal
from services.kernel.db import Database
from services.monitor import report, tables
from services.monitor.export import ExportRequest, export
from tests.integration.monitor.harness import MODEL, VERSION, batch
from tests.integration.monitor.world import World

ANYBODY = Principal(name="somebody", scopes=frozenset(), model_prefixes=())


@pytest.fixture
def world(db: Database, tmp_path: Path) -> World:
    world = World(db, tmp_path)
    world.register(MODEL)
    world.own(0)
    return world


def status(world: World) -> dict[str, Any]:
    (model,) = world.db.read_now(lambda connection: report.status(connection, ANYBODY))
    return model


def redacted(made: PredictionBatch, *, hashed: str | None = None, dropped: str | None = None) -> PredictionBatch:
    """The batch as serving writes it with these features redacted."""
    rows = made.rows
    if dropped is not None:
        rows = rows.drop_columns([f"x:{dropped}"])
    if hashed is not None:
        place = rows.schema.get_field_index(f"x:{hashed}")
        texts = pa.array([f"{hash(value) & 0xFFFFFFFF:08x}" for value in rows.column(place).to_pylist()])
        coded = texts.dictionary_encode()
        column = pa.DictionaryArray.from_arrays(coded.indices.cast(pa.int16()), coded.dictionary)
        rows = rows.set_column(place, pa.field(f"x:{hashed}", CATEGORY), column)
    names = tuple(name for name in (hashed, dropped) if name is not None)
    return made.model_copy(update={"rows": rows, "redacted": names})


def flagged(made: PredictionBatch, *flags: str | None) -> PredictionBatch:
    coded = pa.array(flags, pa.utf8()).dictionary_encode()
    column = pa.DictionaryArray.from_arrays(coded.indices.cast(pa.int16()), coded.dictionary)
    return made.model_copy(update={"rows": made.rows.append_column(pa.field("flags", CATEGORY), column)})


def test_rows_that_were_left_out_are_counted_once_whatever_comes_twice(world: World) -> None:
    random = np.random.default_rng(1)
    first = batch(random, 0, 50, sample=0.25, sampled_out={VERSION: 150})
    second = batch(random, 50, 50, sample=0.25, sampled_out={VERSION: 310, "2.0.0": 4})
    alone = batch(random, 100, 0, sample=0.25, sampled_out={VERSION: 400})
    world.take(0, first, first, second)
    world.own(0)
    world.take(0, second, first, batch(random, 100, 1, sampled_out={VERSION: 400}))
    world.take(0, batch(random, 0, 7, incarnation="life-2", sampled_out={VERSION: 10}))
    assert alone.rows.num_rows == 0
    model = status(world)
    assert model["versions"][VERSION] == {"rows": 108, "errors": 0, "sampled_out": 410}
    assert model["versions"]["2.0.0"]["sampled_out"] == 4
    assert (model["missing"], model["repeated"]) == (0, 50 + 50 + 50)
    document = report.drift_report(world.db, world.watchlist, MODEL, VERSION, 10)
    assert (document["rows_counted"], document["rows_sampled_out"]) == (108, 410)


def test_a_label_of_what_was_left_out_is_counted_and_does_not_wait(world: World) -> None:
    world.label("6f1c2a90b7e84d55-s7", "6f1c2a90b7e84d55-s8", "order-7", "6f1c2a90b7e84d55-7")
    world.label("6f1c2a90b7e84d55-s9")
    assert status(world)["labels_left_out"] == 3
    assert world.db.read_now(lambda connection: report.labels_waiting(connection, ANYBODY)) == 2


def test_a_redacted_feature_is_not_judged_and_no_skew(world: World) -> None:
    random = np.random.default_rng(2)
    drifted = [redacted(batch(random, 0, 600, shift=3.0), hashed="amount", dropped="country")]
    drifted.append(redacted(batch(random, 600, 700, shift=3.0), hashed="amount", dropped="country"))
    staged = world.take(0, *drifted)
    (closed,) = staged.closed
    assert closed.drifted == []
    assert closed.skewed == {}
    judged = dict(zip(closed.names, np.isfinite(closed.verdict.p_value).tolist(), strict=True))
    assert {name for name, is_judged in judged.items() if not is_judged} == {"amount", "country"}
    document = report.drift_report(world.db, world.watchlist, MODEL, VERSION, 10)
    for window in (document["current"], document["history"][-1]):
        assert window["redacted_features"] == ["amount", "country"]
    features = {feature["feature"]: feature for feature in document["current"]["features"]}
    assert features["amount"] == {"feature": "amount", "kind": "number", "redacted": True, "rows": 300}
    assert features["age"]["score"] is not None
    past = document["history"][-1]["features"]
    assert (past["amount"]["score"], past["amount"]["p_value"]) == (None, None)
    assert past["age"]["score"] is not None


def test_a_redaction_that_ended_is_forgotten_with_the_window(world: World) -> None:
    random = np.random.default_rng(8)
    world.take(0, redacted(batch(random, 0, 500), hashed="amount"))
    closed = world.take(0, batch(random, 500, 1000, shift=3.0)).closed
    closed += world.take(0, batch(random, 1500, 1000, shift=3.0)).closed
    assert [(sorted(window.redacted), window.drifted) for window in closed] == [(["amount"], []), ([], ["amount"])]


def test_the_last_closed_window_says_what_was_redacted_too(world: World) -> None:
    random = np.random.default_rng(3)
    world.take(0, redacted(batch(random, 0, 1000), hashed="amount"))
    document = report.drift_report(world.db, world.watchlist, MODEL, VERSION, 10)
    assert document["current"]["complete"]
    assert document["current"]["redacted_features"] == ["amount"]


def test_drift_of_what_is_not_redacted_is_still_found(world: World) -> None:
    random = np.random.default_rng(4)
    closed = world.take(0, *(redacted(batch(random, i * 1000, 1000, shift=2.0), hashed="age") for i in range(2))).closed
    assert [window.drifted for window in closed] == [["amount"]] * 2
    found = world.db.read_now(lambda c: c.execute(sa.select(tables.windows.c.redacted)).scalars().all())
    assert [json.loads(text) for text in found] == [["age"]] * 2


def test_flags_are_counted_by_clause_and_are_no_skew(world: World) -> None:
    random = np.random.default_rng(5)
    marks = ["amount:range", "amount:range,country:category", None, "colour, light:unexpected"]
    staged = world.take(0, flagged(batch(random, 0, 4), *marks))
    assert staged.flagged[MODEL] == {"range": 2, "category": 1, "unexpected": 1}
    assert staged.windows[MODEL, VERSION].skew == {}
    assert status(world)["versions"][VERSION]["rows"] == 4


def test_an_export_keeps_the_redaction_and_says_so(world: World) -> None:
    random = np.random.default_rng(6)
    plain, hidden = batch(random, 0, 3), redacted(batch(random, 3, 3), hashed="amount", dropped="country")
    world.take(0, plain, hidden)
    request = ExportRequest(labelled_only=False)
    done = export(world.db, world.spool, world.store, MODEL, request, 1000)
    assert (done.rows, done.redacted) == (6, ("amount", "country"))
    assert done.dataset is not None
    with world.store.open(done.dataset.removeprefix("artifact:")) as file:
        table = pa.parquet.read_table(pa.BufferReader(file.read()))
    assert redacted_in(table.schema) == {"amount", "country"}
    assert table.column("amount").to_pylist() == [*plain.rows.column("x:amount").to_pylist(), None, None, None]
    assert table.column("amount#token").to_pylist()[:3] == [None] * 3
    assert all(table.column("amount#token").to_pylist()[3:])
    assert table.column("country").null_count == 3
    early = export(world.db, world.spool, world.store, MODEL, ExportRequest(min_rows=10), 1000)
    assert (early.dataset, early.redacted) == (None, ("amount", "country"))
