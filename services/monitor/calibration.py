"""What the scores look like without drift, and verdicts that keep their false-alarm promise.

A fixed threshold lies: with few rows, two samples of one distribution score above 0.1 as a matter of course. So each
score is read against its *null*, its distribution when the window (n rows) and the baseline (N rows) come from the same
source; both sides' sampling error counts.

- Dense bins (every bin of present values expects at least `DENSE` rows of the window): with s = 1/n + 1/N and B bins,
  PSI ~ s chi2(B-1), hence mean (B-1) s and variance 2 (B-1) s^2 (Yurdakul 2018). The others have the same second-order
  term: KL, either way, ~ s/2 chi2(B-1); Jensen-Shannon in bits ~ s / (8 ln 2) chi2(B-1).
- Sparse bins: the chi-square null is blind there, so a parametric bootstrap draws both sides from the smoothed
  baseline and scores them: p = (k + 1) / (R + 1) when k of R null scores are at least as large (Davison and Hinkley
  1997, section 4.2.3). A bin of missing values that the baseline never had is not smoothed: its appearance is news.
- Wasserstein: the same bootstrap on the cells of the grid. (The Brownian-bridge limit of del Barrio, Gine and Matran
  1999 rejects far too often on heavy tails: 31 % of windows of 1,000 NSL-KDD rows at a nominal 5 %.)

A feature has drifted in a window when its p-value is significant after Benjamini and Hochberg (1995) over all judged
features AND its *debiased* score, score minus null mean, is above the threshold: significant and large.
Promise: on windows of independent rows from the baseline's distribution, the chance that a window names any feature is
at most `significance`; the threshold makes it far smaller for large n.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincc

from schemas.baseline import FeatureBaseline
from services.monitor.drift import TERMS, Method
from services.monitor.drift.smoothing import ALPHA, smooth
from services.monitor.drift.wasserstein import STD_FLOOR, wasserstein_grid
from services.monitor.layout import CountLayout, Floats
from services.monitor.scores import BINNED, Scores

DENSE = 5
MAX_RESAMPLES = 20_000
CACHED_SIZES = 4
REPORTED_RESAMPLES = 200
"""Resamples for the mean and deviation of a Wasserstein distance that is reported but not judged by."""

CHI_SQUARE_FACTOR = {"psi": 1.0, "kl": 0.5, "kl_reverse": 0.5, "jensen_shannon": 1 / (8 * math.log(2))}
"""score ~ factor (1/n + 1/N) chi2(B-1) when all bins are dense."""


@dataclass(frozen=True)
class Null:
    """The null of every feature (features,) for windows of one size, by method; `samples` of the judged method.

    `freedom` is B - 1 where the chi-square null holds, else 0; `samples` (features, R) are sorted null scores where it
    does not.
    """

    mean: dict[str, Floats]
    sd: dict[str, Floats]
    scale: Floats
    freedom: Floats
    samples: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Verdict:
    """One window's judgement, one entry a feature in the layout's order (see `schemas.events.FeatureScore`)."""

    methods: tuple[str, ...]
    score: Floats
    expected: Floats
    expected_sd: Floats
    debiased: Floats
    p_value: Floats
    significant: npt.NDArray[np.bool_]
    drifted: npt.NDArray[np.bool_]


class Calibration:
    """The nulls of one baseline, cached by window size, and the verdicts that rest on them. Deterministic.

    `method` is what features are judged by; a feature that has no Wasserstein distance is judged by PSI instead.
    """

    def __init__(
        self, layout: CountLayout, *, method: Method = "psi", threshold: float = 0.1, significance: float = 0.05
    ) -> None:
        self.layout = layout
        self.method = method
        self.threshold = threshold
        self.significance = significance
        judged = max(1, len(layout.features))
        self.resamples = min(MAX_RESAMPLES, max(999, math.ceil(2 * judged / significance)))
        self.methods = tuple(
            "psi" if method == "wasserstein" and number >= layout.number_count else method
            for number in range(len(layout.features))
        )
        self._nulls: OrderedDict[int, Null] = OrderedDict()

    def null(self, n: int) -> Null:
        """The null for windows of `n` rows. A new size costs milliseconds a sparse feature; the last sizes are kept."""
        if n in self._nulls:
            self._nulls.move_to_end(n)
        else:
            self._nulls[n] = self._simulate(n)
            while len(self._nulls) > CACHED_SIZES:
                self._nulls.popitem(last=False)
        return self._nulls[n]

    def judge(self, scores: Scores, window: int = 0, left_out: npt.NDArray[np.bool_] | None = None) -> Verdict:
        """The verdict on the `window`-th of the scored windows. Features that are `left_out` have no score, and those
        that are judged pay nothing for them."""
        null = self.null(size_class(int(scores.rows[window])))
        pick = [self.methods.index(method) for method in dict.fromkeys(self.methods)]
        score, expected, spread = (np.empty(len(self.methods)) for _ in range(3))
        for first in pick:
            method = self.methods[first]
            mine = np.array([name == method for name in self.methods])
            score[mine] = scores.by_method[method][window][mine]
            expected[mine], spread[mine] = null.mean[method][mine], null.sd[method][mine]
        p_value = self._p_values(null, score)
        significant = np.zeros(len(score), np.bool_)
        judged = np.ones(len(score), np.bool_) if left_out is None else ~left_out
        significant[judged] = benjamini_hochberg(p_value[judged], self.significance)
        score[~judged], p_value[~judged] = math.nan, math.nan
        debiased = score - expected
        drifted = significant & (debiased > self.threshold)
        return Verdict(self.methods, score, expected, spread, debiased, p_value, significant, drifted)

    def _p_values(self, null: Null, score: Floats) -> Floats:
        """One p-value a feature; 1 where there is nothing to judge (an empty baseline, no finite value)."""
        dense = null.freedom > 0
        p_value = np.ones(len(score))
        with np.errstate(invalid="ignore", divide="ignore"):
            p_value[dense] = gammaincc(null.freedom[dense] / 2, score[dense] / null.scale[dense] / 2)
        for number in np.flatnonzero(~dense & np.isfinite(score)):
            sample = null.samples[number]
            if np.isfinite(sample[0]):
                larger = len(sample) - np.searchsorted(sample, np.float32(score[number] * (1 - 1e-6)))
                p_value[number] = (larger + 1) / (len(sample) + 1)
        return p_value

    def _simulate(self, n: int) -> Null:
        layout, count = self.layout, len(self.layout.features)
        mean = {method: np.zeros(count) for method in (*BINNED, "wasserstein")}
        sd = {method: np.zeros(count) for method in mean}
        scale, freedom = np.ones(count), np.zeros(count)
        samples = np.full((count, self.resamples), np.nan, np.float32)
        for number, feature in enumerate(layout.features):
            if not feature.rows:
                continue
            size = 1 / n + 1 / feature.rows
            if is_dense(feature, n):
                bins = sum(1 for bin_count in feature.counts if bin_count)
                for method, factor in CHI_SQUARE_FACTOR.items():
                    mean[method][number] = (bins - 1) * size * factor
                    sd[method][number] = math.sqrt(2 * (bins - 1)) * size * factor
                if self.methods[number] in BINNED:
                    scale[number], freedom[number] = size * CHI_SQUARE_FACTOR[self.methods[number]], bins - 1
            else:
                drawn = self._bootstrap(feature, n, number)
                for method, null_scores in drawn.items():
                    mean[method][number], sd[method][number] = null_scores.mean(), null_scores.std()
                if self.methods[number] in BINNED:
                    samples[number] = np.sort(drawn[self.methods[number]])
        self._simulate_distances(n, mean["wasserstein"], sd["wasserstein"], samples)
        return Null(mean, sd, scale, freedom, samples)

    def _bootstrap(self, feature: FeatureBaseline, n: int, number: int) -> dict[str, Floats]:
        """Null scores (R,) of every binned method: both sides drawn from the smoothed baseline."""
        raised = np.asarray(feature.counts, np.float64) + ALPHA
        if not feature.missing:
            raised[-1] = 0.0
        chance = raised / raised.sum()
        random = np.random.default_rng([n, number, int(self.layout.digest[:12], 16)])
        windows = random.multinomial(n, chance, size=self.resamples)
        p, q = smooth(random.multinomial(feature.rows, chance, size=self.resamples), windows)
        return {method: TERMS[method](p, q).sum(axis=-1) for method in BINNED}

    def _simulate_distances(self, n: int, mean: Floats, sd: Floats, samples: npt.NDArray[np.float32]) -> None:
        """Fill in the Wasserstein null of the numbers; NaN for everything else."""
        layout = self.layout
        mean[layout.number_count :] = sd[layout.number_count :] = math.nan
        for number, cells in enumerate(layout.grids(layout.baseline_cells)):
            present = int(cells.sum())
            if not present:
                mean[number] = sd[number] = math.nan
                continue
            judged = self.methods[number] == "wasserstein"
            resamples = self.resamples if judged else REPORTED_RESAMPLES
            random = np.random.default_rng([n, number, int(layout.digest[:12], 16), 1])
            chance = cells / present
            baselines = random.multinomial(present, chance, size=resamples)
            windows = random.multinomial(n, chance, size=resamples)
            distances = wasserstein_grid(layout.grid_widths[number], baselines, windows).distance
            null_scores = distances / max(float(layout.stds[number]), STD_FLOOR)
            mean[number], sd[number] = null_scores.mean(), null_scores.std()
            if judged:
                samples[number] = np.sort(null_scores)


def is_dense(feature: FeatureBaseline, n: int) -> bool:
    """Whether the chi-square null holds: every bin of present values expects `DENSE` of the window's `n` rows."""
    *present, missing = feature.counts
    enough = DENSE * feature.rows / n
    return len(present) > 1 and min(present) >= enough and (missing == 0 or missing >= enough)


def size_class(n: int) -> int:
    """`n` rounded down to two significant digits, so that windows closed by time share their nulls.

    Rounded down: fewer rows give a wider null, so the promise holds. 1000 stays 1000.

    >>> size_class(1234), size_class(97)
    (1200, 97)
    """
    unit = int(10 ** max(0, len(str(n)) - 2))
    return n // unit * unit


def benjamini_hochberg(p_values: npt.ArrayLike, significance: float) -> npt.NDArray[np.bool_]:
    """Which hypotheses to reject so that the false discovery rate stays at `significance`.

    With the p-values in order, all up to the largest i with p_(i) <= i / m * significance. When no null is false, the
    chance of any rejection is the same `significance`. Source: Benjamini and Hochberg (1995), J. R. Stat. Soc. B 57(1).

    >>> benjamini_hochberg([0.01, 0.6, 0.02, 0.03], 0.05).tolist()
    [True, False, True, True]
    """
    values = np.asarray(p_values, np.float64)
    order = np.argsort(values, kind="stable")
    passed = np.flatnonzero(values[order] <= significance * np.arange(1, len(values) + 1) / max(len(values), 1))
    rejected = np.zeros(len(values), np.bool_)
    if len(passed):
        rejected[order[: passed[-1] + 1]] = True
    return rejected
