"""The libraries that the conversion needs on the caller's machine, and what their converters say."""

import importlib
import json
import math
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from services.kernel.errors import Misconfigured
from trimtab.conversion.errors import NotConvertible

REFUSALS = (RuntimeError, ValueError, TypeError, LookupError, AttributeError, NameError, AssertionError, OSError)
"""What predictors and converters raise when something does not fit; none of them has one error of its own."""

MAX_PARAMETER_BYTES = 10_000
"""A longer hyper-parameter (a list of vectors, a vocabulary) is data and stays out of the metadata."""


def need(module: str, install: str = "'trimtab[convert]'") -> Any:
    """The module. Raises `Misconfigured` that says what to `install`."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise Misconfigured(
            f"{error.name} is not installed, and the conversion needs it: pip install {install}"
        ) from error


def refused(what: str, error: BaseException) -> NotConvertible:
    """`what` happened, in the library's own words."""
    words = " ".join(str(error).split())[:400] or type(error).__name__
    return NotConvertible(f"{what}: {words}")


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings of libraries about each other's versions."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def plain_parameters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Those hyper-parameters that JSON can carry; None and what is not finite stay out."""
    plain: dict[str, Any] = {}
    for name, value in sorted(parameters.items()):
        known = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
        if known is None or (isinstance(known, float) and not math.isfinite(known)):
            continue
        try:
            text = json.dumps(known, allow_nan=False)
        except (TypeError, ValueError):
            continue
        if len(text) <= MAX_PARAMETER_BYTES:
            plain[str(name)] = json.loads(text)
    return plain
