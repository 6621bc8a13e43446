"""Closed windows, scored and judged, and how their scores are kept."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from services.monitor.calibration import Verdict, size_class
from services.monitor.layout import CountLayout
from services.monitor.model import DriftDetection
from services.monitor.scores import BINNED, score_windows
from services.monitor.skew import skewed_features
from services.monitor.watched import Watched
from services.monitor.window import Window

WINDOWS_AT_ONCE = 8
"""More would leave the processor's cache."""
KEPT_METHODS = (*BINNED, "wasserstein", "wasserstein_bound")
KEPT_VERDICT = ("expected", "expected_sd", "p_value", "significant", "drifted")


@dataclass(frozen=True)
class ClosedWindow:
    """One judged window. `scores` are float32, (methods + verdict, features): see `read_scores`.

    `skewed` and `redacted` features took no part in the verdict, and the latter have no scores; `names` are in the
    layout's order.
    """

    watched: Watched
    plan: DriftDetection
    window: Window
    names: tuple[str, ...]
    verdict: Verdict
    scores: npt.NDArray[np.float32]
    skewed: Mapping[str, int]
    redacted: frozenset[str]

    @property
    def drifted(self) -> list[str]:
        """The features that drifted."""
        return [self.names[i] for i in np.flatnonzero(self.verdict.drifted)]


def judge_windows(
    watched: Watched,
    plan: DriftDetection,
    windows: Sequence[Window],
    skew: Mapping[str, int],
    redacted: frozenset[str],
) -> list[ClosedWindow]:
    """Score and judge `windows`, oldest first; `skew` happened in the first of them. O(windows x cells)."""
    layout = watched.layout
    assert layout is not None
    names = tuple(feature.name for feature in layout.features)
    calibration, closed = watched.calibration(plan), []
    for start in range(0, len(windows), WINDOWS_AT_ONCE):
        some = windows[start : start + WINDOWS_AT_ONCE]
        scores = score_windows(layout, some)
        for number, window in enumerate(some):
            skewed = skewed_features(skew, window.rows) if start + number == 0 else {}
            left_out = redacted_places(layout, redacted)
            verdict = calibration.judge(scores, number, left_out)
            silenced = np.array([_source(layout, i) in skewed for i in range(len(names))], np.bool_)
            if silenced.any():
                verdict = replace(
                    verdict, significant=verdict.significant & ~silenced, drifted=verdict.drifted & ~silenced
                )
            kept = [scores.by_method[method][number] for method in KEPT_METHODS[:-1]]
            kept += [scores.wasserstein_bound[number], *(getattr(verdict, name) for name in KEPT_VERDICT)]
            table = np.asarray(kept, np.float32)
            table[:, left_out] = np.nan
            closed.append(ClosedWindow(watched, plan, window, names, verdict, table, skewed, redacted))
    return closed


def read_scores(data: bytes, features: int) -> dict[str, npt.NDArray[np.float32]]:
    """Kept scores by name of method or of verdict, each (features,)."""
    table = np.frombuffer(data, np.float32).reshape(-1, features)
    return dict(zip((*KEPT_METHODS, *KEPT_VERDICT), table, strict=True))


def expectations(watched: Watched, plan: DriftDetection, rows: int) -> dict[str, npt.NDArray[np.float64]]:
    """By method, what each feature would score on average without drift in a window of `rows` rows."""
    return watched.calibration(plan).null(size_class(max(rows, 1))).mean


def redacted_places(layout: CountLayout, redacted: Collection[str]) -> npt.NDArray[np.bool_]:
    """Which of the layout's features are not judged, since their values are not in the log."""
    return np.array([_source(layout, i) in redacted for i in range(len(layout.features))], np.bool_)


def _source(layout: CountLayout, number: int) -> str:
    """The signature's name of the feature: a vector's elements share one."""
    return layout.features[number].column.partition(":")[2]
