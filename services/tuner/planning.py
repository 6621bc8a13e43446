"""All trials of an experiment, drawn and checked before the first is asked for."""

import math
from typing import Any

from pydantic import ValidationError

from schemas.jobs import Experiment, TrainingJob
from services.kernel.errors import InvalidInput
from services.tuner.model import PLACES, place_of, with_parameters
from services.tuner.strategies import propose


def plan(experiment: Experiment, base_job: TrainingJob) -> list[dict[str, Any]]:
    """The parameters of every trial. Raises `InvalidInput` naming the dimension that makes no valid job, `NotBuilt`."""
    for name, dimension in experiment.search_space.items():
        if dimension.type == "int" and math.ceil(dimension.low or 0) > math.floor(dimension.high or 0):
            raise InvalidInput(
                f"searchSpace.{name}: there is no integer from {dimension.low} to {dimension.high}",
                field=f"searchSpace.{name}",
            )
    parameters = propose(experiment)
    for chosen in parameters:
        try:
            with_parameters(base_job, chosen)
        except (ValidationError, AttributeError, TypeError) as error:
            raise _refusal(experiment, base_job, chosen) from error
    return parameters


def _refusal(experiment: Experiment, base_job: TrainingJob, chosen: dict[str, Any]) -> InvalidInput:
    for name, value in chosen.items():
        try:
            with_parameters(base_job, {name: value})
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
        except (AttributeError, TypeError):
            reason = "there is no such place"
        else:
            continue
        field = f"searchSpace.{name}"
        return InvalidInput(
            f"{field}: {value!r} does not fit at {'.'.join(place_of(name))} of the job: {reason} "
            f"(short names: {', '.join(PLACES)}; any other place as a dotted path)",
            field=field,
        )
    return InvalidInput("searchSpace: these parameters do not fit together in one job", field="searchSpace")
