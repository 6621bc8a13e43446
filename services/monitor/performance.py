"""Is the model, measured on labels, worse than its baseline says?

Labelled rows are cut into windows. A window's accuracy k/n has the Wilson 95 % interval

    (k + z^2/2 +- z sqrt(k (n - k) / n + z^2 / 4)) / (n + z^2),   z = 1.95996

(Wilson 1927, J. Am. Stat. Assoc. 22), and so has the baseline's, measured on held-out rows. A window is *worse* when
its whole interval lies below the baseline's and the fall is more than `TOLERANCE`. So the uncertainty of both sides
counts. One window in many is worse by chance, so a signal is raised when `NEEDED` of the last `MEMORY` windows were
worse, or at once when one fell by more than `STRONG`; it is resolved after `CALM` windows in a row that were not.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

from schemas.events import SignalState

Z = 1.959963984540054
TOLERANCE = 0.02
STRONG = 0.05
NEEDED, MEMORY, CALM = 2, 3, 2


def wilson(correct: int, rows: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a proportion; (0, 1) without rows.

    >>> tuple(round(x, 4) for x in wilson(95, 100))
    (0.8882, 0.9785)
    """
    if rows == 0:
        return 0.0, 1.0
    centre = correct + Z * Z / 2
    half = Z * math.sqrt(correct * (rows - correct) / rows + Z * Z / 4)
    return max(0.0, (centre - half) / (rows + Z * Z)), min(1.0, (centre + half) / (rows + Z * Z))


class Standing(StrEnum):
    """How a window of labelled rows compares with the baseline."""

    AS_BASELINE = "as_baseline"
    WORSE = "worse"


@dataclass(frozen=True)
class Judgement:
    """One window's accuracy with its interval, beside the baseline's."""

    value: float
    interval: tuple[float, float]
    baseline: float
    baseline_interval: tuple[float, float]
    standing: Standing


def judge(correct: int, rows: int, baseline: float, baseline_rows: int) -> Judgement:
    """Compare `correct` of `rows` (at least 1) with an accuracy measured on `baseline_rows` held-out rows.

    A baseline without a number of rows is taken at its word.
    """
    interval = wilson(correct, rows)
    held_out = wilson(round(baseline * baseline_rows), baseline_rows) if baseline_rows else (baseline, baseline)
    value = correct / rows
    worse = interval[1] < held_out[0] and baseline - value > TOLERANCE
    return Judgement(value, interval, baseline, held_out, Standing.WORSE if worse else Standing.AS_BASELINE)


@dataclass(frozen=True)
class Course:
    """The model's last windows, oldest first (True: worse), and whether a signal stands."""

    recent: tuple[bool, ...] = ()
    raised: bool = False


def follow(course: Course, judged: Judgement) -> tuple[Course, SignalState | None]:
    """The course after one more window, and what to tell: raised, updated, resolved, or nothing (None)."""
    worse = judged.standing is Standing.WORSE
    recent = (*course.recent, worse)[-MEMORY:]
    if course.raised:
        if not any(recent[-CALM:]) and len(recent) >= CALM:
            return Course(recent, raised=False), SignalState.RESOLVED
        return Course(recent, raised=True), SignalState.UPDATED if worse else None
    if worse and (sum(recent) >= NEEDED or judged.baseline - judged.value > STRONG):
        return Course(recent, raised=True), SignalState.RAISED
    return Course(recent), None
