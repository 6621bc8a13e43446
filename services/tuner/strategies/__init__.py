"""Search strategies: one file each, `propose(experiment) -> a list of parameter sets`, pure and seeded.

Built are random and grid search, which know all their trials beforehand.
"""

from collections.abc import Callable
from typing import Any

from schemas.jobs import Experiment, SearchStrategy
from services.kernel.errors import NotBuilt
from services.tuner.strategies import grid, random

Parameters = dict[str, Any]

STRATEGIES: dict[SearchStrategy, Callable[[Experiment], list[Parameters]]] = {
    SearchStrategy.RANDOM: random.propose,
    SearchStrategy.GRID: grid.propose,
}


def check_built(strategy: SearchStrategy) -> None:
    """Raise `NotBuilt`, naming the strategies that are, for one that is not."""
    if strategy not in STRATEGIES:
        raise NotBuilt(
            f"searchStrategy: {strategy} search is not built; there are {', '.join(STRATEGIES)}",
            field="searchStrategy",
        )


def propose(experiment: Experiment) -> list[Parameters]:
    """The parameters of every trial, in order. Raises `NotBuilt`, and `InvalidInput` for a grid that is too large."""
    check_built(experiment.search_strategy)
    return STRATEGIES[experiment.search_strategy](experiment)
