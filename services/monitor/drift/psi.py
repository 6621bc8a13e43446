"""Population stability index."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def terms(p: Array, q: Array) -> Array:
    """Each bin's part of the PSI, in nats; 0 where p = q, infinite where only one of the two is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(p == q, 0.0, (p - q) * np.log(p / q))


def psi(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """Population stability index of two distributions on the same bins (the last axis), in nats, 0 and up.

        PSI(p, q) = sum_b (p_b - q_b) ln(p_b / q_b) = KL(p || q) + KL(q || p)

    which is Jeffreys' divergence. Symmetric. `p` is the baseline, `q` the window.
    Source: Jeffreys (1946), Proc. R. Soc. A 186; its use and null distribution: Yurdakul (2018), "Statistical
    Properties of Population Stability Index".

    >>> round(float(psi([0.5, 0.3, 0.2], [0.4, 0.4, 0.2])), 6)
    0.051083
    """
    return np.asarray(terms(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(axis=-1))
