"""Windows merge as their rows concatenate, split anywhere, and survive being saved."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.baseline import Baseline, build_baseline
from schemas.features import DType, Feature, Output, Signature
from services.monitor.layout import CountLayout
from services.monitor.scores import score_windows
from services.monitor.window import BadWindow, TumblingWindows, Window

SIGNATURE = Signature(
    inputs=(
        Feature(name="amount", dtype=DType.FLOAT32, nullable=True),
        Feature(name="few", dtype=DType.INT64),
        Feature(name="constant", dtype=DType.FLOAT64),
        Feature(name="word", dtype=DType.STRING, nullable=True),
        Feature(name="flag", dtype=DType.BOOL),
        Feature(name="vector", dtype=DType.FLOAT32, shape=(2,)),
    ),
    outputs=(Output(name="value", dtype=DType.FLOAT32),),
)


def _baseline() -> Baseline:
    random = np.random.default_rng(0)
    rows = 500
    amount = random.lognormal(0, 2, rows)
    amount[random.random(rows) < 0.1] = np.nan
    return build_baseline(
        {
            "amount": amount,
            "few": random.integers(0, 5, rows),
            "constant": np.ones(rows),
            "word": random.choice(["a", "b", "", "c"], rows),
            "flag": random.random(rows) < 0.3,
            "vector": random.normal(size=(rows, 2)),
        },
        SIGNATURE,
    )


LAYOUT = CountLayout(_baseline())

number = st.one_of(st.floats(allow_nan=True, allow_infinity=True, width=32), st.none())
row = st.tuples(
    number,
    st.one_of(st.integers(-3, 9), st.none()),
    st.one_of(st.sampled_from([1.0, 2.0]), st.none()),
    st.one_of(st.sampled_from(["a", "b", "", "never seen"]), st.none()),
    st.one_of(st.booleans(), st.none()),
    st.floats(-5, 5, width=32),
    st.integers(0, 2**40),
)
rows = st.lists(row, min_size=1, max_size=60)


def batch(values: Sequence[tuple[object, ...]]) -> pa.RecordBatch:
    amount, few, constant, word, flag, element, time = zip(*values, strict=True)
    vector = pa.array(np.repeat(np.asarray(element, np.float32), 2))
    arrays = {
        "x:amount": pa.array(amount, pa.float32()),
        "x:few": pa.array(few, pa.int64()),
        "x:constant": pa.array(constant, pa.float64()),
        "x:word": pa.array(word, pa.utf8()).dictionary_encode(),
        "x:flag": pa.array(flag, pa.bool_()),
        "x:vector": pa.FixedSizeListArray.from_arrays(vector, 2),
        "time": pa.array(time, pa.timestamp("us", tz="UTC")),
    }
    return pa.record_batch(list(arrays.values()), names=list(arrays))


def same(left: Window, right: Window) -> None:
    assert (left.rows, left.start_us, left.end_us) == (right.rows, right.start_us, right.end_us)
    assert np.array_equal(left.counts, right.counts)
    assert np.allclose(left.below, right.below, rtol=1e-12)
    assert np.allclose(left.above, right.above, rtol=1e-12)


@given(rows, rows)
def test_merging_equals_concatenating(left: list[tuple[object, ...]], right: list[tuple[object, ...]]) -> None:
    apart = [Window.of(LAYOUT, LAYOUT.place([batch(part)])) for part in (left, right)]
    together = Window.of(LAYOUT, LAYOUT.place([batch(left), batch(right)]))
    same(apart[0].merge(apart[1]), together)
    same(Window.of(LAYOUT, LAYOUT.place([batch(left + right)])), together)


@given(rows, st.integers(1, 25), st.data())
def test_where_batches_are_split_changes_nothing(
    values: list[tuple[object, ...]], window_rows: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(values)))
    one, two = TumblingWindows(LAYOUT, window_rows), TumblingWindows(LAYOUT, window_rows)
    whole = one.add(LAYOUT.place([batch(values)]))
    parts = [part for part in (values[:cut], values[cut:]) if part]
    pieces = [window for part in parts for window in two.add(LAYOUT.place([batch(part)]))]
    assert [window.rows for window in whole] == [window_rows] * (len(values) // window_rows)
    for left, right in zip(whole, pieces, strict=True):
        same(left, right)
    same(one.open, two.open)


@given(rows)
def test_every_feature_counts_every_row_once(values: list[tuple[object, ...]]) -> None:
    window = Window.of(LAYOUT, LAYOUT.place([batch(values)]))
    sums = np.add.reduceat(LAYOUT.bins(window.counts), LAYOUT.bin_starts)
    assert (sums == len(values)).all()


@given(rows)
def test_a_saved_window_comes_back(values: list[tuple[object, ...]]) -> None:
    window = Window.of(LAYOUT, LAYOUT.place([batch(values)]))
    same(Window.from_bytes(window.to_bytes()), window)


@settings(max_examples=30)
@given(rows)
def test_scores_are_finite_or_honestly_absent(values: list[tuple[object, ...]]) -> None:
    scores = score_windows(LAYOUT, [Window.of(LAYOUT, LAYOUT.place([batch(values)]))])
    for method in ("psi", "kl", "kl_reverse", "jensen_shannon"):
        assert np.isfinite(scores.by_method[method]).all()
        assert (scores.by_method[method] > -1e-12).all()
    distances = dict(zip([f.name for f in LAYOUT.features], scores.by_method["wasserstein"][0], strict=True))
    assert np.isnan(distances["word"])
    assert np.isnan(distances["amount"]) == all(row[0] is None or row[0] != row[0] for row in values)


def test_windows_of_other_baselines_do_not_mix() -> None:
    other = CountLayout(build_baseline({"x": [1.0, 2.0, 3.0]}, Signature(
        inputs=(Feature(name="x", dtype=DType.FLOAT32),), outputs=SIGNATURE.outputs
    )))  # fmt: skip
    with pytest.raises(BadWindow):
        Window.empty(LAYOUT).merge(Window.empty(other))
    with pytest.raises(BadWindow):
        Window.from_bytes(b"[]\nnothing")


def test_a_window_closes_on_time_when_traffic_stops() -> None:
    windows = TumblingWindows(LAYOUT, 1000, max_age_seconds=60, min_rows=2)
    values = [(1.0, 1, 1.0, "a", True, 0.5, 7)] * 3
    assert windows.add(LAYOUT.place([batch(values)]), now=100.0) == []
    assert windows.close_if_due(159.0) is None
    closed = windows.close_if_due(160.0)
    assert closed is not None
    assert closed.rows == 3
    assert windows.open.rows == 0
    assert windows.close_if_due(1000.0) is None
