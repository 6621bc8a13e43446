"""Search strategies stay inside the space, are seeded, and do not repeat themselves."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.jobs import Experiment
from services.kernel.errors import InvalidInput
from services.tuner.strategies import grid, propose, random

numbers = st.floats(-1e6, 1e6)
ranges = st.tuples(numbers, numbers).filter(lambda pair: pair[0] < pair[1] and pair[1] - pair[0] > 1e-6)
dimensions = st.one_of(
    ranges.map(lambda r: {"type": "float", "low": r[0], "high": r[1]}),
    st.tuples(st.integers(-100, 100), st.integers(1, 100)).map(
        lambda r: {"type": "int", "low": r[0], "high": r[0] + r[1]}
    ),
    st.tuples(st.floats(1e-6, 1), st.floats(1.5, 1e6)).map(
        lambda r: {"type": "log_uniform", "low": r[0], "high": r[1]}
    ),
    st.lists(st.sampled_from("abcdef"), min_size=1, max_size=4, unique=True).map(
        lambda c: {"type": "categorical", "choices": c}
    ),
)
spaces = st.dictionaries(st.sampled_from("xyz"), dimensions, min_size=1)


def _experiment(space: dict[str, Any], strategy: str, trials: int, seed: int = 0) -> Experiment:
    document = {"name": "e", "searchSpace": space, "searchStrategy": strategy, "maxTrials": trials, "seed": seed}
    return Experiment.model_validate(document)


def _inside(space: dict[str, Any], parameters: dict[str, Any]) -> bool:
    return parameters.keys() == space.keys() and all(
        value in space[name]["choices"]
        if space[name]["type"] == "categorical"
        else space[name]["low"] - abs(value) * 1e-9 <= value <= space[name]["high"] + abs(value) * 1e-9
        for name, value in parameters.items()
    )


@given(spaces, st.integers(1, 30), st.integers(0, 1000))
def test_random_search(space: dict[str, Any], trials: int, seed: int) -> None:
    experiment = _experiment(space, "random", trials, seed)
    drawn = propose(experiment)
    assert 1 <= len(drawn) <= trials
    assert all(_inside(space, parameters) for parameters in drawn)
    assert len({repr(parameters) for parameters in drawn}) == len(drawn)
    assert random.propose(experiment) == drawn


def test_random_search_ends_with_the_space() -> None:
    space = {"x": {"type": "categorical", "choices": ["a", "b"]}, "y": {"type": "int", "low": 1, "high": 2}}
    assert len(propose(_experiment(space, "random", 50))) == 4


def test_log_uniform_draws_are_uniform_in_the_logarithm() -> None:
    space = {"x": {"type": "log_uniform", "low": 1e-4, "high": 1.0}}
    drawn = [parameters["x"] for parameters in propose(_experiment(space, "random", 4000))]
    for decade in range(4):
        share = sum(10.0 ** (decade - 4) <= value < 10.0 ** (decade - 3) for value in drawn) / len(drawn)
        assert abs(share - 0.25) < 0.03


@given(spaces, st.integers(8, 300))
def test_grid_search(space: dict[str, Any], trials: int) -> None:
    try:
        points = grid.propose(_experiment(space, "grid", trials))
    except InvalidInput:
        return  # more choices than trials
    assert 1 <= len(points) <= trials
    assert all(_inside(space, parameters) for parameters in points)
    assert len({repr(parameters) for parameters in points}) == len(points)


def test_a_grid_has_its_ends_and_is_as_fine_as_allowed() -> None:
    space = {
        "rate": {"type": "log_uniform", "low": 0.001, "high": 0.1},
        "size": {"type": "categorical", "choices": [16, 32]},
    }
    points = propose(_experiment(space, "grid", 7))
    assert [point["rate"] for point in points[::2]] == pytest.approx([0.001, 0.01, 0.1])
    with pytest.raises(InvalidInput, match="has 4 points"):
        propose(_experiment(space, "grid", 3))
