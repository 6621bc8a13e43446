"""Jensen-Shannon divergence."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def terms(p: Array, q: Array) -> Array:
    """Each bin's part of the divergence, in bits."""
    middle = (p + q) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        left = np.where(p == 0, 0.0, p * np.log2(p / middle))
        right = np.where(q == 0, 0.0, q * np.log2(q / middle))
    return np.asarray((left + right) / 2)


def jensen_shannon(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """Jensen-Shannon divergence on the same bins (the last axis), in bits, 0 (equal) to 1 (disjoint). Symmetric.

        JS(p, q) = KL(p || m) / 2 + KL(q || m) / 2   with m = (p + q) / 2 and logarithms to base 2

    Equals `scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2` (SciPy returns the distance, its square root).
    Source: Lin (1991), IEEE Trans. Inf. Theory 37(1).

    >>> float(jensen_shannon([1.0, 0.0], [0.0, 1.0]))
    1.0
    """
    return np.asarray(terms(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(axis=-1))
