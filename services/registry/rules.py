"""The pure rules' complaints as errors of the platform."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.kernel.errors import Conflict, InvalidInput
from services.registry.model import Malformed, RuleBroken


class GatesUnmet(Conflict):
    """The policy of the model does not let this version into that stage yet."""

    code = "gates-unmet"


@contextmanager
def enforced() -> Iterator[None]:
    """Turn `Malformed` into `InvalidInput` and any other broken rule into `Conflict`, with the same sentence."""
    try:
        yield
    except Malformed as error:
        raise InvalidInput(str(error)) from error
    except RuleBroken as error:
        raise Conflict(str(error)) from error
