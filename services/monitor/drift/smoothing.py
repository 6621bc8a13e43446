"""From counts to two positive distributions on the same bins."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ALPHA = 0.5
"""Laplace smoothing: this much is added to every bin's count (Jeffreys' prior)."""


def smooth(baseline: npt.ArrayLike, window: npt.ArrayLike, alpha: float = ALPHA) -> tuple[Array, Array]:
    """(p, q): the baseline's and the window's smoothed shares of each bin; shapes (..., bins), each sums to 1.

    p_b = (c_b + alpha) / (N + alpha B), over the B bins that at least one side filled. A bin that is empty on both
    sides says nothing: it gets the share 0 on both and is not counted in B. Two empty sides give zeros.

    >>> p, q = smooth([8, 2, 0, 0], [3, 1, 1, 0])
    >>> p.round(3).tolist(), q.round(3).tolist()
    ([0.739, 0.217, 0.043, 0.0], [0.538, 0.231, 0.231, 0.0])
    """
    left, right = np.broadcast_arrays(np.asarray(baseline, np.float64), np.asarray(window, np.float64))
    used = (left + right) > 0
    return _shares(left, used, alpha), _shares(right, used, alpha)


def _shares(counts: Array, used: npt.NDArray[np.bool_], alpha: float) -> Array:
    raised = np.where(used, counts + alpha, 0.0)
    total = raised.sum(axis=-1, keepdims=True)
    return np.asarray(raised / np.where(total > 0, total, 1.0))
