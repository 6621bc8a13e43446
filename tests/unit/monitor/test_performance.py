"""Accuracy with its interval, beside the baseline's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from services.monitor import skew
from services.monitor.performance import Standing, judge, wilson
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
