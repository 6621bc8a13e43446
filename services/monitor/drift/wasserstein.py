"""Wasserstein-1 (earth mover's) distance: exact on raw rows, or from a grid of counts with an error bound."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

STD_FLOOR = 0.001
"""The score divides the distance by the baseline's standard deviation, but never by less than this."""


def wasserstein(u: npt.ArrayLike, v: npt.ArrayLike) -> float:
    """W1 between two samples of finite numbers, in their unit. O((n + m) log(n + m)).

        W1 = integral |F_u(x) - F_v(x)| dx

    with the empirical distribution functions F. Equals `scipy.stats.wasserstein_distance(u, v)`.
    Raises `ValueError` for an empty sample. Source: Vallender (1974), Theory Probab. Appl. 18(4).

    >>> wasserstein([0, 1, 3], [5, 6, 8])
    5.0
    """
    left, right = np.sort(np.asarray(u, np.float64)), np.sort(np.asarray(v, np.float64))
    if not len(left) or not len(right):
        raise ValueError("the Wasserstein distance needs at least one value on each side")
    every = np.sort(np.concatenate([left, right]))
    at = every[:-1]
    below_left = np.searchsorted(left, at, side="right") / len(left)
    below_right = np.searchsorted(right, at, side="right") / len(right)
    return float(np.sum(np.abs(below_left - below_right) * np.diff(every)))


class Gridded(NamedTuple):
    """A distance computed from counts; the exact one lies within `distance` +- `bound`. Shapes (...)."""

    distance: Array
    bound: Array


def wasserstein_grid(
    widths: npt.ArrayLike,
    baseline: npt.ArrayLike,
    window: npt.ArrayLike,
    below: npt.ArrayLike = 0.0,
    above: npt.ArrayLike = 0.0,
) -> Gridded:
    """W1 from counts in the cells of a grid g_0 < ... < g_{k-1}, in the values' unit.

    `widths` (..., k - 1) are g_{i+1} - g_i; `baseline` and `window` (..., k + 1) count `x <= g_0`, then
    `g_{i-1} < x <= g_i`, then `x > g_{k-1}`. `below` and `above` (...) are the window's sums of `g_0 - x` and of
    `x - g_{k-1}` over the values outside the grid; the baseline must have none there.

    Both distribution functions are known exactly at the grid's edges. Between two edges their difference D is taken
    to run straight; truly it stays between D_i - q_i and D_i + p_i (p_i, q_i: the cell's shares), which gives the
    bound. Where a cell of any width holds no mass the part is exact. O(cells). An empty side gives NaN.

    >>> d, bound = wasserstein_grid([1.0, 1.0], [1, 1, 1, 0], [0, 0, 1, 1], above=2.0)
    >>> round(float(d), 3), round(float(bound), 3)
    (2.083, 0.583)
    """
    step = np.asarray(widths, np.float64)
    left, right = np.asarray(baseline, np.float64), np.asarray(window, np.float64)
    total_left, total_right = left.sum(axis=-1, keepdims=True), right.sum(axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = left / total_left, right / total_right
        outside = (np.asarray(below, np.float64) + np.asarray(above, np.float64)) / total_right[..., 0]
    gap = np.cumsum(p - q, axis=-1)
    first, last = gap[..., :-2], gap[..., 1:-1]
    p, q = p[..., 1:-1], q[..., 1:-1]
    a, b = np.abs(first), np.abs(last)
    crosses = (first * last) < 0
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.where(crosses, (a * a + b * b) / (2 * (a + b)), (a + b) / 2)
    most = np.maximum(np.abs(first + p), np.abs(first - q))
    least = np.maximum(0.0, np.maximum(first - q, -first - p))
    distance = (step * between).sum(axis=-1) + outside
    bound = (step * np.maximum(most - between, between - least)).sum(axis=-1)
    return Gridded(np.asarray(distance), np.asarray(bound))
