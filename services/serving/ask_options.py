"""What a caller may say beside the input, the same through both faces.

| option | `/mlops/predict`, `/mlops/predict/batch` | `/v2/...` |
|---|---|---|
| version | `version` | the path |
| timeout | `timeoutMs`, more than 0 and at most an hour | `parameters.timeout`, microseconds; 0: none (as Triton) |
| priority | `priority`: `high`, `normal`, `low` | `parameters.priority`: 1 high, 0 and 2 normal, 3 and more low |
| cache | `cache`: whether a cached answer will do, and this one may be kept | `parameters.cache` |

`explain` is no matter of the asking: see `explain/request.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.kernel.errors import InvalidInput
from services.serving.queue import Priority

LONGEST_TIMEOUT_SECONDS = 3600.0

PriorityName = Literal["high", "normal", "low"]
_BY_NAME: dict[str, Priority] = {"high": Priority.HIGH, "normal": Priority.NORMAL, "low": Priority.LOW}
_BY_NUMBER = (Priority.NORMAL, Priority.HIGH, Priority.NORMAL)


@dataclass(frozen=True, slots=True)
class AskOptions:
    """One request's."""

    version: str | None = None
    timeout_seconds: float | None = None
    priority: Priority = Priority.NORMAL
    cache: bool = True


PLAIN = AskOptions()
"""Nothing was said."""


def named_priority(name: PriorityName | None) -> Priority:
    """The class that a word asks for."""
    return Priority.NORMAL if name is None else _BY_NAME[name]


def checked_timeout(seconds: float, what: str) -> float:
    """`seconds`. Raises `InvalidInput` naming `what` when they are not above 0 and within an hour."""
    if not 0 < seconds <= LONGEST_TIMEOUT_SECONDS:  # NaN is neither
        raise InvalidInput(f"{what} must be more than 0 and at most an hour")
    return seconds


def from_parameters(parameters: Mapping[str, Any] | None, version: str | None) -> AskOptions:
    """What a request of protocol V2 says in its `parameters`. Raises `InvalidInput`."""
    if not parameters:
        return PLAIN if version is None else AskOptions(version)
    timeout = parameters.get("timeout")
    priority = parameters.get("priority")
    cache = parameters.get("cache")
    if timeout is None and priority is None and cache is None:
        return PLAIN if version is None else AskOptions(version)
    if cache is not None and not isinstance(cache, bool):
        raise InvalidInput("the parameter cache must be true or false")
    seconds = None
    if timeout is not None and _whole("timeout", timeout):
        seconds = checked_timeout(timeout / 1e6, "the parameter timeout (microseconds)")
    place = 0 if priority is None else _whole("priority", priority)
    return AskOptions(
        version,
        seconds,
        _BY_NUMBER[place] if place < len(_BY_NUMBER) else Priority.LOW,
        cache is not False,
    )


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 64:
        raise InvalidInput(f"the parameter {name} must be a whole number, 0 or more")
    return value
