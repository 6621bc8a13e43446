"""Random search: every trial draws each parameter by itself.

Bergstra and Bengio 2012, "Random Search for Hyper-Parameter Optimization", JMLR 13: with few parameters that matter,
independent draws cover each of them better than a grid of the same size.
"""

import math
from random import Random
from typing import Any

from schemas.jobs import Experiment, SearchDimension

REDRAWS = 50
"""Draws after which a repeated set of parameters is accepted as the space's exhaustion; the search ends there."""


def propose(experiment: Experiment) -> list[dict[str, Any]]:
    """At most `max_trials` different parameter sets; fewer only in a space that has no more."""
    generator = Random(experiment.seed)
    drawn: list[dict[str, Any]] = []
    for _ in range(experiment.max_trials):
        for _ in range(REDRAWS):
            parameters = {name: draw(dimension, generator) for name, dimension in experiment.search_space.items()}
            if parameters not in drawn:
                drawn.append(parameters)
                break
        else:
            break
    return drawn


def draw(dimension: SearchDimension, generator: Random) -> Any:
    """One value: uniform in `[low, high]`, both ends included for integers; `log_uniform`: uniform in the logarithm."""
    if dimension.type == "categorical":
        return generator.choice(dimension.choices or ())
    low, high = float(dimension.low or 0.0), float(dimension.high or 0.0)
    if dimension.type == "int":
        return generator.randint(math.ceil(low), math.floor(high))
    if dimension.type == "log_uniform":
        return min(max(math.exp(generator.uniform(math.log(low), math.log(high))), low), high)
    return generator.uniform(low, high)
