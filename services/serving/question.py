"""One request between its reading and its answer."""

import time
from collections.abc import Collection, Sequence

import msgspec

from services.serving.ask_options import PLAIN, AskOptions
from services.serving.columns import Columns, Row


class Question(msgspec.Struct, eq=False):
    """Validated rows, as plain `rows` or as `columns`, in the order of the asked version's inputs.

    `started` is `time.perf_counter()` at the parsed request. `outputs`: the names of those that a fallback must have.
    (A `Struct` because one is made for every request: a dataclass takes three times as long.)
    """

    count: int
    rows: Sequence[Row] | None
    columns: Columns | None
    started: float
    options: AskOptions = PLAIN
    outputs: Collection[str] = ()

    def seconds_left(self) -> float | None:
        """What is left of the caller's time; None: there is no end to it."""
        timeout = self.options.timeout_seconds
        return None if timeout is None else timeout - (time.perf_counter() - self.started)
