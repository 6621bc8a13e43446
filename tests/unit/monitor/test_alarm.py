"""The alarm: raised once, updated, resolved."""

import numpy as np

from services.monitor.alarm import Alarm, AlarmRule, Step, step
from services.monitor.calibration import Verdict

NAMES = ("a", "b")


def verdict(*debiased: float) -> Verdict:
    score = np.array(debiased)
    drifted = score > 0.1
    return Verdict(("psi", "psi"), score, score * 0, score * 0, score, score * 0, score > 0.01, drifted)


def run(*windows: tuple[float, float], alarm: Alarm | None = None) -> tuple[Alarm, list[Step]]:
    alarm, steps = alarm or Alarm(), []
    for window in windows:
        alarm, happened = step(alarm, NAMES, verdict(*window), 0.1, AlarmRule())
        steps.append(happened)
    return alarm, steps


def test_one_weak_window_raises_nothing() -> None:
    assert run((0.15, 0), (0, 0), (0, 0), (0.15, 0))[1] == [Step.NOTHING] * 4


def test_the_same_feature_twice_in_three_windows_raises() -> None:
    assert run((0.15, 0), (0, 0), (0.15, 0))[1][-1] is Step.RAISED
    assert run((0.15, 0), (0, 0.15))[1] == [Step.NOTHING] * 2


def test_a_very_strong_window_raises_at_once() -> None:
    assert run((0.3, 0))[1] == [Step.RAISED]


def test_a_raised_signal_is_updated_only_by_news() -> None:
    alarm, steps = run((0.3, 0), (0.3, 0), (0.3, 0.2))
    assert steps == [Step.RAISED, Step.NOTHING, Step.UPDATED]
    assert alarm.named == {"a", "b"}


def test_it_takes_three_calm_windows_below_the_lower_level_to_resolve() -> None:
    assert run((0.3, 0), (0, 0), (0.09, 0), (0, 0), (0, 0))[1][1:] == [Step.NOTHING] * 4
    alarm, steps = run((0.3, 0), (0, 0), (0.07, 0), (0, 0))
    assert steps[-1] is Step.RESOLVED
    assert not alarm.is_raised
