"""A runtime that does what a test says."""

import threading
from collections.abc import Mapping
from concurrent.futures import Executor

import numpy as np

from services.serving.runtime import Array, RuntimeFailed


class Scripted:
    """Takes the model `vector`'s input and prefers the class `favourite`. `broken`: it raises; `gate` clear: it does
    not come back. It notes what it ran."""

    max_rows: int | None = None
    executor: Executor | None = None
    provider = "scripted"
    outside_bytes = 0

    def __init__(self, favourite: int = 0, *, broken: bool = False) -> None:
        self.favourite = favourite
        self.broken = broken
        self.gate = threading.Event()
        self.gate.set()
        self.ran: list[float] = []
        self.threads: list[str] = []

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        """See `services.serving.runtime.Runtime`."""
        assert self.gate.wait(20)
        self.ran += feed["x"][:, 0].tolist()
        self.threads.append(threading.current_thread().name)
        if self.broken:
            raise RuntimeFailed("out of luck")
        probabilities = np.full((rows, 3), 0.1, dtype=np.float32)
        probabilities[:, self.favourite] = 0.8
        return [probabilities]

    def close(self) -> None:
        """Nothing to free."""
