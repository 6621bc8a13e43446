"""Kullback-Leibler divergence, both ways."""

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def terms(p: Array, q: Array) -> Array:
    """Each bin's part of KL(q || p), in nats; 0 where q = 0, infinite where only p is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(q == 0, 0.0, q * np.log(q / p))


def reverse_terms(p: Array, q: Array) -> Array:
    """Each bin's part of KL(p || q), in nats."""
    return terms(q, p)


def kl(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """Divergence of the window `q` from the baseline `p` on the same bins (the last axis), in nats, 0 and up.

        KL(q || p) = sum_b q_b ln(q_b / p_b)

    Equals `scipy.stats.entropy(q, p)`. Source: Kullback and Leibler (1951), Ann. Math. Statist. 22(1).

    >>> round(float(kl([0.5, 0.3, 0.2], [0.4, 0.4, 0.2])), 6)
    0.025815
    """
    return np.asarray(terms(np.asarray(p, np.float64), np.asarray(q, np.float64)).sum(axis=-1))


def kl_reverse(p: npt.ArrayLike, q: npt.ArrayLike) -> Array:
    """The other direction, KL(p || q) = sum_b p_b ln(p_b / q_b), in nats. Equals `scipy.stats.entropy(p, q)`.

    >>> round(float(kl_reverse([0.5, 0.3, 0.2], [0.4, 0.4, 0.2])), 6)
    0.025267
    """
    return kl(q, p)
