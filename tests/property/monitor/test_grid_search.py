"""The table finds the same cell as the binary search, for every float32."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.monitor.grid_search import GridSearch

any_float = st.floats(width=32, allow_nan=False, allow_infinity=False)


@given(
    st.lists(any_float, min_size=1, max_size=40, unique=True),
    hnp.arrays(np.float32, 50, elements=st.floats(width=32)),
)
def test_cells_are_those_of_searchsorted(marks: list[float], values: np.ndarray) -> None:
    grid = np.unique(np.asarray(marks, np.float32))
    with np.errstate(over="ignore"):  # the neighbour of the largest number is infinity
        above = np.nextafter(grid, np.float32(np.inf))
    values = np.concatenate([values, grid, above, -grid]).astype(np.float32)
    expected = np.searchsorted(np.append(grid, np.float32(np.inf)), values)
    assert np.array_equal(GridSearch(grid)(values), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_quantile_grids_of_any_place_and_precision(dtype: type[np.float32], shift: float) -> None:
    random = np.random.default_rng(0)
    grid = np.unique((random.normal(size=300) + shift).astype(dtype))
    values = (random.normal(size=20_000) * 2 + shift).astype(dtype)
    values[::100] = np.nan
    values[1::100] = np.inf
    values[2::100] = -np.inf
    found = GridSearch(grid)(values)
    assert np.array_equal(found, np.searchsorted(np.append(grid, dtype(np.inf)), values))
    assert (found[::100] == len(grid) + 1).all()
    assert (found[1::100] == len(grid)).all()
    assert (found[2::100] == 0).all()
