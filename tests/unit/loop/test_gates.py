"""The loop's gates: exact numbers, and what each refuses."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from schemas.events import Comparison
from services.loop.gates import better, canary
from services.loop.gates.canary import Traffic


def comparison(only_challenger: int, only_champion: int, both: int = 900) -> Comparison:
    rows = both + only_challenger + only_champion
    return Comparison(
        rows=rows,
        dataset_digest="d",
        champion_version="1.0.1",
        champion_accuracy=(both + only_champion) / rows,
        challenger_accuracy=(both + only_challenger) / rows,
        both_correct=both,
        only_champion=only_champion,
        only_challenger=only_challenger,
        neither=0,
    )


@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_equals_scipys_binomial_test(a: int, b: int) -> None:
    expected = binomtest(a, a + b, 0.5, alternative="greater").pvalue if a + b else 1.0
    assert better.exact_mcnemar(a, b) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_is_exact_where_floats_would_overflow() -> None:
    assert better.exact_mcnemar(3000, 2000) == pytest.approx(
        binomtest(3000, 5000, 0.5, alternative="greater").pvalue, rel=1e-6
    )


@pytest.mark.parametrize(
    ("only_challenger", "only_champion", "min_gain", "passed"),
    [(60, 20, 0.0, True), (25, 20, 0.0, False), (20, 60, 0.0, False), (0, 0, 0.0, False), (60, 20, 0.1, False)],
)
def test_only_a_challenger_that_is_surely_better_passes(
    only_challenger: int, only_champion: int, min_gain: float, passed: bool
) -> None:
    verdict = better.judge(comparison(only_challenger, only_champion), alpha=0.05, min_gain=min_gain)
    assert verdict.passed is passed
    assert f"{only_challenger}" in verdict.explanation


def judge(canary_traffic: Traffic, champion: Traffic, age_seconds: float) -> bool | None:
    return canary.judge(
        canary_traffic,
        champion,
        age_seconds=age_seconds,
        min_seconds=60,
        max_seconds=600,
        min_requests=100,
        error_margin=0.01,
    ).passed


@pytest.mark.parametrize(
    ("requests", "errors", "age_seconds", "passed"),
    [
        (100, 0, 60, True),
        (99, 0, 60, None),
        (100, 0, 59, None),
        (100, 5, 5, False),
        (50, 50, 5, None),
        (99, 0, 601, False),
        (200, 4, 60, True),
    ],
)
def test_a_canary_needs_requests_time_and_as_few_errors(
    requests: int, errors: int, age_seconds: float, passed: bool | None
) -> None:
    assert judge(Traffic(requests, errors), Traffic(1000, 10), age_seconds) is passed
