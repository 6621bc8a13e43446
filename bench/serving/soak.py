"""Resident memory of a worker under minutes of load."""

from dataclasses import dataclass

from bench.cluster import resident_mib
from bench.load import measure
from bench.serving.servers import Target

_PIECE_SECONDS = 15


@dataclass(frozen=True)
class Soak:
    """Resident memory in MiB after each piece of the load; `slope` is MiB a minute by least squares, the first minute
    left out."""

    minutes: list[float]
    resident: list[float]
    requests: int

    @property
    def slope(self) -> float:
        """MiB a minute."""
        pairs = [(m, r) for m, r in zip(self.minutes, self.resident, strict=True) if m >= 1]
        if len(pairs) < 2:
            return float("nan")
        mean_m = sum(m for m, _ in pairs) / len(pairs)
        mean_r = sum(r for _, r in pairs) / len(pairs)
        return sum((m - mean_m) * (r - mean_r) for m, r in pairs) / sum((m - mean_m) ** 2 for m, _ in pairs)


def soak(target: Target, minutes: float) -> Soak:
    """Load `target` for `minutes`, looking at its memory every quarter of a minute; a line each is printed."""
    times: list[float] = []
    resident: list[float] = []
    requests = 0.0
    for piece in range(1, max(2, round(minutes * 60 / _PIECE_SECONDS)) + 1):
        load = measure(target.url, target.body, target.pid, connections=target.connections, seconds=_PIECE_SECONDS - 1)
        requests += load.requests_per_second * (_PIECE_SECONDS - 1)
        times.append(piece * _PIECE_SECONDS / 60)
        resident.append(resident_mib(target.pid))
        print(f"  {times[-1]:5.2f} min  {resident[-1]:7.1f} MiB  {load.requests_per_second:8,.0f} req/s", flush=True)
    return Soak(times, resident, round(requests))
