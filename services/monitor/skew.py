"""Schema skew: rows that do not fit the signature. Told apart from value drift, since retraining would not mend it.

Each open window counts, by feature, the rows in which it was missing, unexpected or mistyped. A feature is *skewed*
when that concerns at least `SHARE` of the window's rows and at least `LEAST` of them. A skewed feature takes no part in
the drift verdict of its window: its values say what was sent wrongly, not how the world changed.
"""

from collections.abc import Mapping
from dataclasses import dataclass

SHARE = 0.01
LEAST = 10
CALM_WINDOWS = 3


@dataclass(frozen=True)
class SkewAlarm:
    """`named` are the features of the raised signal; `calm` counts windows without any skew since."""

    named: frozenset[str] = frozenset()
    calm: int = 0


def skewed_features(skew: Mapping[str, int], rows: int) -> dict[str, int]:
    """The features that count as skewed in a window of `rows` rows, with how often.

    >>> skewed_features({"amount": 40, "colour": 3}, 1000)
    {'amount': 40}
    """
    return {name: count for name, count in sorted(skew.items()) if count >= max(LEAST, SHARE * rows)}


def step(alarm: SkewAlarm, skewed: Mapping[str, int]) -> tuple[SkewAlarm, bool]:
    """The alarm after one more window, and whether to tell: only when a feature is skewed that was not named yet.

    After `CALM_WINDOWS` windows without skew all is forgotten.
    """
    if not skewed:
        calm = alarm.calm + 1
        return (SkewAlarm() if calm >= CALM_WINDOWS else SkewAlarm(alarm.named, calm)), False
    news = set(skewed) - alarm.named
    return SkewAlarm(alarm.named | set(skewed), 0), bool(news)
