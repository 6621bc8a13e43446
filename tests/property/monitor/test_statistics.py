"""Each statistic equals SciPy or NumPy on the same p and q, or on the same rows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import jensenshannon
from scipy.stats import entropy, wasserstein_distance

from services.monitor.drift.jensen_shannon import jensen_shannon
from services.monitor.drift.kl import kl, kl_reverse
from services.monitor.drift.psi import psi
from services.monitor.drift.smoothing import ALPHA, smooth
from services.monitor.drift.wasserstein import wasserstein, wasserstein_grid

counts = st.integers(2, 30).flatmap(
    lambda bins: st.tuples(*[hnp.arrays(np.int64, bins, elements=st.integers(0, 10_000))] * 2)
)
finite = st.floats(-1e6, 1e6, allow_nan=False, width=32)
samples = st.lists(finite, min_size=1, max_size=200)


@given(counts)
def test_smoothing_makes_two_distributions(pair: tuple[np.ndarray, np.ndarray]) -> None:
    left, right = pair
    p, q = smooth(left, right)
    used = (left + right) > 0
    if used.any():
        assert p.sum() == pytest.approx(1, abs=1e-12)
        assert np.allclose(p[used], (left[used] + ALPHA) / (left.sum() + ALPHA * used.sum()), atol=1e-15)
        assert (q[used] > 0).all()
    assert not p[~used].any()
    assert not q[~used].any()


@given(counts)
def test_divergences_equal_scipy(pair: tuple[np.ndarray, np.ndarray]) -> None:
    p, q = smooth(*pair)
    if not p.any():
        return
    assert float(kl(p, q)) == pytest.approx(float(entropy(q, p)), abs=1e-9)
    assert float(kl_reverse(p, q)) == pytest.approx(float(entropy(p, q)), abs=1e-9)
    assert float(psi(p, q)) == pytest.approx(float(entropy(p, q) + entropy(q, p)), abs=1e-9)
    assert float(jensen_shannon(p, q)) == pytest.approx(float(jensenshannon(p, q, base=2) ** 2), abs=1e-9)


def test_unsmoothed_zeros_are_what_the_definitions_say() -> None:
    assert float(kl([1.0, 0.0], [0.5, 0.5])) == math.inf
    assert float(kl([0.5, 0.5], [1.0, 0.0])) == pytest.approx(math.log(2))
    assert float(psi([0.0, 1.0], [0.0, 1.0])) == 0.0


@given(samples, samples)
def test_wasserstein_equals_scipy(u: list[float], v: list[float]) -> None:
    assert wasserstein(u, v) == pytest.approx(wasserstein_distance(u, v), rel=1e-9, abs=1e-9)


@given(samples, samples, st.lists(finite, min_size=2, max_size=40, unique=True))
def test_the_grid_holds_the_exact_distance_within_its_bound(u: list[float], v: list[float], marks: list[float]) -> None:
    grid = np.unique([*marks, min(u), max(u)])
    inside, window = np.asarray(u), np.asarray(v)
    below, above = np.maximum(grid[0] - window, 0).sum(), np.maximum(window - grid[-1], 0).sum()
    left, right = (np.bincount(np.searchsorted(grid, x), minlength=len(grid) + 1) for x in (inside, window))
    distance, bound = wasserstein_grid(np.diff(grid), left, right, below, above)
    exact = wasserstein_distance(u, v)
    assert abs(distance - exact) <= bound + 1e-9 * max(1.0, exact)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=100), st.lists(st.integers(-3, 8), min_size=1, max_size=100))
def test_the_grid_is_exact_on_atoms(u: list[int], v: list[int]) -> None:
    """With an edge just below every value, no cell of any width holds mass."""
    atoms = np.arange(-3.0, 9.0)
    grid = np.unique([*atoms, *np.nextafter(atoms, -np.inf)])
    left, right = (np.bincount(np.searchsorted(grid, x), minlength=len(grid) + 1) for x in (u, v))
    distance, bound = wasserstein_grid(np.diff(grid), left, right)
    assert float(distance) == pytest.approx(wasserstein_distance(u, v), abs=1e-9)
    assert float(bound) == pytest.approx(0, abs=1e-9)
