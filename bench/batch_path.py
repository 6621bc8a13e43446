"""What one batch costs between validated rows and its logged answer, without a model: `python -m bench.batch_path`.

Assembling, checks of the input contract, reading the outputs, one block of the prediction log, resolving the answers;
and, apart, reading one JSON row. In microseconds of processor time a batch, the best of several rounds.
"""

import asyncio
import json
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from schemas.features import DType, Feature, Output, OutputRole, Signature
from services.serving.predlog import LogBudget, ModelLog
from services.serving.served import ServedVersion

ROUNDS = 15
CALLS = 400
CLASSES = ("normal", "dos", "probe", "r2l", "u2r")


class Constant:
    """A runtime that answers at once."""

    max_rows: int | None = None
    executor = None
    provider = "none"
    outside_bytes = 0

    def __init__(self) -> None:
        self._answers: dict[int, np.ndarray[Any, Any]] = {}

    def run(self, feed: object, rows: int) -> list[np.ndarray[Any, Any]]:
        """The same probabilities for every row."""
        if rows not in self._answers:
            self._answers[rows] = np.tile(np.array([0.6, 0.1, 0.1, 0.1, 0.1], dtype=np.float32), (rows, 1))
        return [self._answers[rows]]

    def close(self) -> None:
        """Nothing to free."""


def signature(inputs: list[Feature]) -> Signature:
    """Five classes with probabilities."""
    output = Output(name="probabilities", dtype=DType.FLOAT32, shape=(5,), role=OutputRole.PROBABILITIES)
    return Signature(inputs=tuple(inputs), outputs=(output,), classes=CLASSES)


def floats() -> tuple[Signature, dict[str, Any]]:
    """20 floats without bounds."""
    names = [f"f{i:02d}" for i in range(20)]
    return signature([Feature(name=name, dtype=DType.FLOAT32) for name in names]), dict.fromkeys(names, 0.5)


def connections(bounds: bool) -> tuple[Signature, dict[str, Any]]:
    """41 features like NSL-KDD's: 38 numbers, 3 texts."""
    low, high = (0.0, 1e9) if bounds else (None, None)
    numbers = [
        Feature(name=f"n{i:02d}", dtype=DType.FLOAT32, nullable=True, minimum=low, maximum=high) for i in range(38)
    ]
    words = tuple(f"service_{i}" for i in range(70)) if bounds else None
    texts = [Feature(name=f"t{i}", dtype=DType.STRING, nullable=True, categories=words) for i in range(3)]
    row: dict[str, Any] = {f.name: 0.5 for f in numbers} | {f.name: "service_7" for f in texts}
    return signature([*numbers, *texts]), row


async def measure(of: Signature, row: dict[str, Any], rows: int) -> tuple[float, float]:
    """(microseconds a batch of `rows` requests, microseconds to read one row)."""
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(1) as executor:
        log = ModelLog(Path(directory), "m", "bench", LogBudget(1 << 40, "reject"), segment_bytes=1 << 40)
        served = ServedVersion("m", "1.0.0", of, Constant(), log, executor)
        body = json.dumps(row).encode()
        read = served.reader.read(body)
        best = best_read = float("inf")
        for _ in range(ROUNDS):
            begun = time.process_time()
            for _ in range(CALLS):
                started = time.perf_counter()
                await asyncio.gather(*(served.ask(1, (read,), None, "production", started) for _ in range(rows)))
            best = min(best, (time.process_time() - begun) / CALLS)
            begun = time.process_time()
            for _ in range(CALLS):
                served.reader.read(body)
            best_read = min(best_read, (time.process_time() - begun) / CALLS)
        return best * 1e6, best_read * 1e6


async def main() -> None:
    """Print the table."""
    cases = (("20 floats", floats()), ("41 features", connections(False)), ("41 features, bounds", connections(True)))
    for name, (of, row) in cases:
        for rows in (1, 32):
            batch, read = await measure(of, row, rows)
            print(f"{name:22s} {rows:3d} rows  {batch:8.1f} us a batch  {read:6.2f} us to read a row")


if __name__ == "__main__":
    asyncio.run(main())
