"""From window verdicts to one alarm that is raised once, updated, and resolved.

The rule, for each model version, over non-overlapping windows in order:

- raised when one and the same feature has drifted in `needed` of the last `memory` windows (2 of 3), or at once when
  a feature has drifted by more than `strong` times the threshold (2.5: a debiased PSI of 0.25 by default, which the
  industry's rule of thumb calls a major change);
- while raised: updated when a feature drifts that the signal has not named yet;
- resolved after `calm` windows in a row (3) in which no feature's significant, debiased score is above 0.8 times the
  threshold: below the level that raised it, so that a score at the threshold does not flicker.

What this promises: each window alone keeps the calibrated promise of `calibration`, and asking for two windows squares
a small number. It does *not* bound the chance of ever alarming over an endless stream: all windows share one baseline.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from services.monitor.calibration import Verdict

HYSTERESIS = 0.8


@dataclass(frozen=True)
class AlarmRule:
    """The numbers of the rule above."""

    needed: int = 2
    memory: int = 3
    strong: float = 2.5
    calm: int = 3


class Step(StrEnum):
    """What a window did to the alarm."""

    NOTHING = "nothing"
    RAISED = "raised"
    UPDATED = "updated"
    RESOLVED = "resolved"


@dataclass(frozen=True)
class Alarm:
    """`recent` holds the features that drifted in each of the last windows, oldest first.

    `named` are the features of the raised signal, empty when none is raised; `calm` counts quiet windows since.
    """

    recent: tuple[frozenset[str], ...] = ()
    named: frozenset[str] = frozenset()
    calm: int = 0

    @property
    def is_raised(self) -> bool:
        """Whether a signal stands."""
        return bool(self.named)


def step(
    alarm: Alarm, names: tuple[str, ...], verdict: Verdict, threshold: float, rule: AlarmRule
) -> tuple[Alarm, Step]:
    """The alarm after one more window, and what happened. `names` are the features in the verdict's order."""
    drifted = frozenset(names[i] for i in verdict.drifted.nonzero()[0])
    restless = bool((verdict.significant & (verdict.debiased > HYSTERESIS * threshold)).any())
    recent = (*alarm.recent, drifted)[-rule.memory :]
    if alarm.is_raised:
        calm = 0 if restless else alarm.calm + 1
        if calm >= rule.calm:
            return Alarm(), Step.RESOLVED
        grown = drifted - alarm.named
        after = replace(alarm, recent=recent, calm=calm, named=alarm.named | drifted)
        return after, Step.UPDATED if grown else Step.NOTHING
    lasting = {name for name in drifted if sum(name in window for window in recent) >= rule.needed}
    strong = (verdict.drifted & (verdict.debiased > rule.strong * threshold)).any()
    if lasting or strong:
        return Alarm(recent, drifted, 0), Step.RAISED
    return Alarm(recent), Step.NOTHING
