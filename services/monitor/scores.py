"""The scores of closed windows, all features and many windows at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from services.monitor.drift import TERMS
from services.monitor.drift.smoothing import ALPHA
from services.monitor.drift.wasserstein import STD_FLOOR, wasserstein_grid
from services.monitor.layout import CountLayout, Floats, Ints
from services.monitor.window import Window

BINNED = ("psi", "kl", "kl_reverse", "jensen_shannon")


@dataclass(frozen=True)
class Scores:
    """Scores of `len(rows)` windows; `by_method` maps a method to (windows, features), in the layout's order.

    `wasserstein` is NaN for what is no number, and for a number without any finite value on one side;
    `wasserstein_bound` is by how much the grid may be off, in the same unit.
    """

    rows: Ints
    by_method: Mapping[str, Floats]
    wasserstein_bound: Floats


def score_windows(layout: CountLayout, windows: Sequence[Window]) -> Scores:
    """Score every feature of every window against the layout's baseline. O(windows x cells)."""
    counts = np.stack([window.counts for window in windows])
    p, q = smoothed(layout, layout.bins(counts))
    by_method = {method: np.add.reduceat(TERMS[method](p, q), layout.bin_starts, axis=-1) for method in BINNED}
    distance, bound = _wasserstein(layout, windows, counts)
    by_method["wasserstein"] = distance
    return Scores(np.array([window.rows for window in windows]), by_method, bound)


def smoothed(layout: CountLayout, bins: Ints, baseline: Ints | None = None) -> tuple[Floats, Floats]:
    """`drift.smoothing.smooth`, feature by feature, on flat vectors of bins (..., bins)."""
    left = layout.baseline_bins if baseline is None else baseline
    used = (left + bins) > 0
    return _shares(layout, left, used), _shares(layout, bins, used)


def _shares(layout: CountLayout, counts: Ints, used: npt.NDArray[np.bool_]) -> Floats:
    raised = np.where(used, counts + ALPHA, 0.0)
    totals = np.add.reduceat(raised, layout.bin_starts, axis=-1)
    widths = np.diff(np.append(layout.bin_starts, layout.bin_count))
    return np.asarray(raised / np.repeat(np.maximum(totals, ALPHA), widths, axis=-1))


def _wasserstein(layout: CountLayout, windows: Sequence[Window], counts: Ints) -> tuple[Floats, Floats]:
    shape = (len(windows), len(layout.features))
    distance, bound = np.full(shape, np.nan), np.full(shape, np.nan)
    if layout.number_count:
        below = np.stack([window.below for window in windows])
        above = np.stack([window.above for window in windows])
        baseline = layout.grids(layout.baseline_cells)
        found = wasserstein_grid(layout.grid_widths, baseline, layout.grids(counts), below, above)
        unit = np.maximum(layout.stds, STD_FLOOR)
        distance[:, : layout.number_count] = found.distance / unit
        bound[:, : layout.number_count] = found.bound / unit
    return distance, bound
