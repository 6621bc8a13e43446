"""The false-alarm promise, kept on simulated and on real rows."""

import numpy as np
import pytest
from scipy.stats import chi2

from schemas.baseline import build_baseline
from schemas.features import DType, Feature, Output, Signature
from services.monitor.alarm import Alarm, AlarmRule, Step, step
from services.monitor.calibration import Calibration, benjamini_hochberg, is_dense
from services.monitor.layout import CountLayout
from services.monitor.scores import score_windows
from services.monitor.window import TumblingWindows, Window
from tests.unit.monitor import nsl_kdd

THRESHOLD = 0.1


def layout_of(values: np.ndarray, dtype: DType = DType.FLOAT64) -> CountLayout:
    signature = Signature(
        inputs=(Feature(name="x", dtype=dtype),), outputs=(Output(name="value", dtype=DType.FLOAT32),)
    )
    return CountLayout(build_baseline({"x": values}, signature))


def simulated_p_values(draw: object, n: int, baseline_rows: int, method: str, windows: int, seed: int) -> np.ndarray:
    """One p-value a window; a fresh baseline for each, since the promise is about both sides' chance."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(windows):
        layout = layout_of(draw(random, baseline_rows))  # type: ignore[operator]
        counts = np.bincount(
            np.searchsorted([*layout.features[0].grid], draw(random, n)),  # type: ignore[operator]
            minlength=layout.cell_count,
        )
        window = Window(layout.digest, n, 0, 0, counts, np.zeros(1), np.zeros(1))
        found.append(Calibration(layout, method=method).judge(score_windows(layout, [window])).p_value[0])  # type: ignore[arg-type]
    return np.array(found)


@pytest.mark.parametrize("method", ["psi", "kl", "jensen_shannon"])
@pytest.mark.parametrize(("n", "baseline_rows"), [(200, 500), (1000, 1000)])
def test_dense_bins_reject_as_often_as_promised(method: str, n: int, baseline_rows: int) -> None:
    p_values = simulated_p_values(lambda r, k: r.normal(size=k), n, baseline_rows, method, 250, 1)
    assert (p_values < 0.05).mean() == pytest.approx(0.05, abs=0.04)


def test_sparse_categories_reject_as_often_as_promised_and_not_blindly() -> None:
    """70 Zipf-distributed levels: the chi-square null would never reject."""
    weights = 1 / np.arange(1, 71)
    levels = np.array([f"level{i}" for i in range(70)])
    random = np.random.default_rng(2)

    def draw(rows: int) -> np.ndarray:
        return random.choice(levels, rows, p=weights / weights.sum())

    rejected = []
    for _ in range(100):
        layout = layout_of(draw(2000), DType.STRING)
        assert not is_dense(layout.features[0], 300)
        values, counts = np.unique(draw(300), return_counts=True)
        place = {category: i for i, category in enumerate(layout.features[0].categories or ())}
        cells = np.zeros(layout.cell_count, np.int64)
        for value, count in zip(values, counts, strict=True):
            cells[place.get(str(value), len(place))] += count
        window = Window(layout.digest, 300, 0, 0, cells, np.zeros(0), np.zeros(0))
        rejected.append(Calibration(layout).judge(score_windows(layout, [window])).p_value[0] < 0.05)
    assert 0.005 < np.mean(rejected) < 0.11


def test_the_null_is_yurdakuls_for_dense_bins() -> None:
    layout = layout_of(np.random.default_rng(0).normal(size=5000))
    null = Calibration(layout).null(1000)
    size = 1 / 1000 + 1 / 5000
    assert null.mean["psi"][0] == pytest.approx(chi2(9).mean() * size)
    assert null.sd["psi"][0] == pytest.approx(chi2(9).std() * size)


def test_nulls_are_the_same_every_time() -> None:
    layout = layout_of(np.random.default_rng(0).lognormal(size=300))
    left, right = (Calibration(layout, method="wasserstein").null(100) for _ in range(2))
    assert np.array_equal(left.samples, right.samples)


def test_benjamini_hochberg_rejects_nothing_without_small_p_values() -> None:
    assert not benjamini_hochberg([0.2, 0.9, 0.06], 0.05).any()
    assert not benjamini_hochberg([], 0.05).any()


def _nsl_windows(name: str, rows: np.ndarray, layout: CountLayout) -> list[Window]:
    return TumblingWindows(layout, 1000).add(layout.place([nsl_kdd.batch(name, rows)]))


@pytest.fixture(scope="module")
def threats() -> tuple[CountLayout, np.ndarray]:
    """The layout of a baseline of 17,000 training rows, and the rows that were held back."""
    order = np.random.default_rng(0).permutation(len(nsl_kdd.columns("KDDTrain+_20Percent.csv.xz")["duration"]))
    chosen = nsl_kdd.taken("KDDTrain+_20Percent.csv.xz", order[:17_000])
    return CountLayout(build_baseline(chosen, nsl_kdd.signature())), order[17_000:]


def test_held_back_rows_are_silent(threats: tuple[CountLayout, np.ndarray]) -> None:
    layout, held = threats
    calibration, names = Calibration(layout), tuple(feature.name for feature in layout.features)
    named, significant, windows = 0, 0, 0
    alarm, raised = Alarm(), 0
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(held)
        scores = score_windows(layout, closed := _nsl_windows("KDDTrain+_20Percent.csv.xz", shuffled, layout))
        for number in range(len(closed)):
            verdict = calibration.judge(scores, number)
            named += int(verdict.drifted.any())
            significant += int(verdict.significant.any())
            windows += 1
            alarm, happened = step(alarm, names, verdict, THRESHOLD, AlarmRule())
            raised += happened is Step.RAISED
    assert windows == 40
    assert named == raised == 0
    assert significant <= 0.15 * windows


def test_the_test_set_alarms_at_once_and_names_features(threats: tuple[CountLayout, np.ndarray]) -> None:
    layout, _ = threats
    names = tuple(feature.name for feature in layout.features)
    windows = _nsl_windows("KDDTest+.csv.xz", np.arange(3000), layout)
    scores, calibration = score_windows(layout, windows), Calibration(layout)
    alarm, happened = step(Alarm(), names, calibration.judge(scores, 0), THRESHOLD, AlarmRule())
    assert happened is Step.RAISED
    assert "dst_host_rerror_rate" in alarm.named
    assert 3 <= len(alarm.named) < 41
