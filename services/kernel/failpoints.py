"""Named points at which a test may kill the process: `TRIMTAB_FAILPOINTS=name` or `name:N` (at the N-th passage).

Off unless the variable is set; then the process dies as by kill -9, which is what the crash tests need to cause.
"""

import os
import signal
from collections import Counter
from functools import cache

_passages: Counter[str] = Counter()


@cache
def _armed() -> dict[str, int]:
    points = {}
    for item in filter(None, os.environ.get("TRIMTAB_FAILPOINTS", "").split(",")):
        name, _, passage = item.partition(":")
        points[name] = int(passage or 1)
    return points


def failpoint(name: str) -> None:
    """Die here if a test armed `name`."""
    armed = _armed()
    if name in armed:
        _passages[name] += 1
        if _passages[name] == armed[name]:
            os.kill(os.getpid(), signal.SIGKILL)
