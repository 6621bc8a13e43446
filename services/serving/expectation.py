"""How long a run should take, by what was measured: a smoothed time per power-of-two size of batch. Pure."""

BLOCKING_SECONDS = 0.005
"""Longest expected run that may hold the event loop."""

_SMOOTHING = 0.2


class Expectation:
    """Of one model. A size never seen is extrapolated from the nearest smaller one."""

    def __init__(self) -> None:
        self._seconds: dict[int, float] = {}
        self._was_long = False

    @property
    def is_known(self) -> bool:
        """Whether any run was measured."""
        return bool(self._seconds)

    def learn(self, rows: int, seconds: float) -> None:
        """Note how long a run of `rows` took. A single time counts at most twice what is expected: that a thread was
        not scheduled for 30 ms says nothing about the model. A second one in a row that would hold up the event loop
        counts whole: the model has become slow."""
        size = rows.bit_length()
        known = self._seconds.get(size)
        long = known is not None and seconds > max(2 * known, BLOCKING_SECONDS)
        if known is None or (long and self._was_long):
            self._seconds[size] = seconds
        else:
            self._seconds[size] = known + _SMOOTHING * (min(seconds, 2 * known) - known)
        self._was_long = long

    def expected_seconds(self, rows: int) -> float:
        """How long a run of `rows` should take, by what was measured; 0 before the first measurement."""
        size = rows.bit_length()
        known = self._seconds.get(size)
        if known is not None:
            return known
        smaller = [s for s in self._seconds if s < size]
        if smaller:
            nearest = max(smaller)
            return float(self._seconds[nearest] * 2 ** (size - nearest))
        return min(self._seconds.values(), default=0.0)
