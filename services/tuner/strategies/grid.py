"""Grid search: every combination, each range cut into as many points as `max_trials` allows."""

import itertools
import math
from typing import Any

from schemas.jobs import Experiment, SearchDimension
from services.kernel.errors import InvalidInput


def propose(experiment: Experiment) -> list[dict[str, Any]]:
    """All points of the finest grid with at most `max_trials` points; ranges have at least their two ends.

    Raises `InvalidInput` when even that grid is larger.
    """
    space = experiment.search_space
    size = _size(space, 2)
    if size > experiment.max_trials:
        raise InvalidInput(
            f"maxTrials: the smallest grid of this search space has {size} points; allow as many, narrow the space or "
            "search at random",
            field="maxTrials",
        )
    points = 2
    while _size(space, points) < _size(space, points + 1) <= experiment.max_trials:
        points += 1
    axes = [_axis(dimension, points) for dimension in space.values()]
    return [dict(zip(space, values, strict=True)) for values in itertools.product(*axes)]


def _size(space: dict[str, SearchDimension], points: int) -> int:
    return math.prod(len(_axis(dimension, points)) for dimension in space.values())


def _axis(dimension: SearchDimension, points: int) -> list[Any]:
    """`points` values from low to high, evenly spaced (in the logarithm for `log_uniform`); all choices."""
    if dimension.type == "categorical":
        return list(dimension.choices or ())
    low, high = float(dimension.low or 0.0), float(dimension.high or 0.0)
    steps = [step / (points - 1) for step in range(points)]
    if dimension.type == "log_uniform":
        return [min(max(low * (high / low) ** step, low), high) for step in steps]
    values = [min(max(low + (high - low) * step, low), high) for step in steps]  # rounding may lead out of the range
    if dimension.type == "int":
        return sorted({round(value) for value in values if low <= round(value) <= high})
    return values
