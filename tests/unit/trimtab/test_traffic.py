"""Rates and quantiles from counters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trimtab.ui.drawing import curve, length
from trimtab.ui.traffic import Counters, Sample, quantile, read_counters, traffic_of

TEXT = """
# TYPE ml_prediction_latency_seconds histogram
ml_prediction_latency_seconds_bucket{le="0.001",model="m",version="1.0.0"} 90
ml_prediction_latency_seconds_bucket{le="+Inf",model="m",version="1.0.0"} 100
ml_prediction_latency_seconds_count{model="m",version="1.0.0"} 100
ml_prediction_latency_seconds_bucket{le="0.001",model="m",version="1.1.0"} 5
ml_prediction_latency_seconds_bucket{le="+Inf",model="m",version="1.1.0"} 5
# TYPE ml_predictions_total counter
ml_predictions_total{model="m",version="1.0.0"} 100
ml_predictions_total{model="m",version="1.1.0"} 5
# TYPE ml_prediction_errors_total counter
ml_prediction_errors_total{code="invalid-input",model="m",version="1.0.0"} 3
# TYPE other counter
other_total{model="n"} 9
"""


def test_the_versions_of_a_model_are_added_up() -> None:
    counters = read_counters(TEXT)
    assert set(counters) == {"m"}
    assert (counters["m"].predictions, counters["m"].errors) == (105, 3)
    assert counters["m"].buckets == {0.001: 95, float("inf"): 105}


def _sample(at: float, predictions: float, fast: float) -> Sample:
    return Sample(at, {"m": Counters(predictions, 0.0, {0.001: fast, 0.1: predictions, float("inf"): predictions})})


def test_rates_are_over_the_last_ten_seconds() -> None:
    samples = [_sample(float(second), 100.0 * second, 99.0 * second) for second in range(31)]
    traffic = traffic_of(samples, "m")
    assert traffic is not None
    assert traffic.rate == pytest.approx(100)
    assert traffic.p50_ms == 1
    assert traffic.p99_ms == 1
    assert len(traffic.rates) == 30
    assert traffic.predictions == 3000


def test_a_restart_of_serving_is_no_negative_rate() -> None:
    traffic = traffic_of([_sample(0, 500, 500), _sample(1, 20, 20)], "m")
    assert traffic is not None
    assert traffic.rate == 0
    assert traffic.rates == [0]


def test_one_sample_is_no_rate() -> None:
    assert traffic_of([_sample(0, 5, 5)], "m") is None
    assert traffic_of([], "m") is None


def test_a_model_without_traffic_has_no_quantile() -> None:
    traffic = traffic_of([Sample(0, {}), Sample(1, {})], "m")
    assert traffic is not None
    assert (traffic.rate, traffic.p50_ms, traffic.p99_ms) == (0, None, None)


counts = st.lists(st.integers(0, 1000), min_size=1, max_size=8)


@given(counts, st.floats(0.01, 1))
def test_a_quantile_is_the_first_bound_that_holds_the_share(new: list[int], share: float) -> None:
    total, buckets = 0, {}
    for number, count in enumerate(new):
        total += count
        buckets[float(number)] = float(total)
    found = quantile(buckets, share)
    if total == 0:
        assert found is None
    else:
        assert found is not None
        assert buckets[found] >= share * total
        assert found == 0 or buckets[found - 1] < share * total


@given(st.lists(st.floats(-10, 1e6), min_size=2, max_size=50))
def test_a_curve_stays_on_its_paper(values: list[float]) -> None:
    points = [tuple(map(float, point.split(","))) for point in curve(values, 240, 36).split()]
    assert len(points) == len(values)
    assert all(0 <= x <= 240 and 0 <= y <= 36 for x, y in points)


@given(st.floats(-10, 1e6), st.floats(0, 1e6))
def test_a_bar_stays_on_its_scale(value: float, top: float) -> None:
    assert 0 <= length(value, top, 100) <= 100
