"""Accuracy with its interval, beside the baseline's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from schemas.events import SignalState
from services.monitor import skew
from services.monitor.performance import Course, Judgement, Standing, follow, judge, wilson
from services.monitor.skew import SkewAlarm


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_is_wilsons(counts: tuple[int, int]) -> None:
    correct, rows = counts
    expected = binomtest(correct, rows).proportion_ci(0.95, method="wilson")
    assert wilson(correct, rows) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_a_clear_fall_is_worse() -> None:
    assert judge(195, 250, 0.99, 5000).standing is Standing.WORSE


def test_chance_is_not_worse_nor_is_a_fall_without_meaning() -> None:
    assert judge(244, 250, 0.99, 5000).standing is Standing.AS_BASELINE
    assert judge(98_000, 100_000, 0.99, 1_000_000).standing is Standing.AS_BASELINE
    assert judge(20, 25, 0.95, 20).standing is Standing.AS_BASELINE


def test_a_baseline_without_rows_is_taken_at_its_word() -> None:
    assert judge(60, 100, 0.95, 0).baseline_interval == (0.95, 0.95)


def test_skew_is_told_once_for_each_feature_and_forgotten_after_calm() -> None:
    alarm, tell = skew.step(SkewAlarm(), {"a": 20})
    assert tell
    alarm, tell = skew.step(alarm, {"a": 20})
    assert not tell
    alarm, tell = skew.step(alarm, {"a": 20, "b": 30})
    assert tell
    for _ in range(skew.CALM_WINDOWS):
        alarm, tell = skew.step(alarm, {})
    assert alarm == SkewAlarm()


WORSE, STRONGLY, FINE = judge(235, 250, 0.985, 5000), judge(195, 250, 0.99, 5000), judge(244, 250, 0.99, 5000)
RAISED, UPDATED, RESOLVED = SignalState.RAISED, SignalState.UPDATED, SignalState.RESOLVED


@pytest.mark.parametrize(
    ("windows", "told"),
    [
        ([WORSE], [None]),
        ([WORSE, WORSE], [None, RAISED]),
        ([WORSE, FINE, WORSE], [None, None, RAISED]),
        ([WORSE, FINE, FINE, WORSE], [None] * 4),
        ([STRONGLY], [RAISED]),
        ([STRONGLY, FINE, FINE, FINE], [RAISED, None, RESOLVED, None]),
        ([STRONGLY, FINE, WORSE, FINE, FINE], [RAISED, None, UPDATED, None, RESOLVED]),
    ],
)
def test_a_signal_needs_two_of_three_windows_or_a_strong_fall(
    windows: list[Judgement], told: list[SignalState | None]
) -> None:
    course, heard = Course(), []
    for window in windows:
        course, state = follow(course, window)
        heard.append(state)
    assert heard == told


def test_the_examples_are_what_they_are_called() -> None:
    assert (WORSE.standing, STRONGLY.standing, FINE.standing) == (Standing.WORSE, Standing.WORSE, Standing.AS_BASELINE)
