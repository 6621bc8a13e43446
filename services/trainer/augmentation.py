"""Augmented copies of training rows, in the encoded space; only numbers change, never categories or labels."""

import numpy as np
from numpy.typing import NDArray

from services.trainer.encoding import Matrix

NOISE_DEVIATIONS = 0.05
"""Standard deviation of the noise, in standard deviations of each number."""

ROTATION_RADIANS = 0.1
"""Largest angle of a rotation."""


def augmented(
    encoded: Matrix, labels: NDArray[np.int64], numbers: int, techniques: tuple[str, ...], seed: int
) -> tuple[Matrix, NDArray[np.int64]]:
    """The rows and one changed copy of all of them for each technique; the first `numbers` columns are the numbers.

    `noise` adds normal noise; `rotation` turns each row by a small random angle in the planes of randomly paired
    numbers, which keeps its length.
    """
    generator = np.random.default_rng(seed)
    copies = [encoded]
    for technique in techniques:
        copy = encoded.copy()
        if technique == "noise":
            copy[:, :numbers] += generator.normal(0, NOISE_DEVIATIONS, (len(encoded), numbers)).astype(np.float32)
        elif technique == "rotation":
            _rotate(copy, numbers, generator)
        copies.append(copy)
    return np.concatenate(copies), np.tile(labels, len(copies))


def _rotate(rows: Matrix, numbers: int, generator: np.random.Generator) -> None:
    order = generator.permutation(numbers)
    first, second = order[: numbers // 2], order[numbers // 2 : 2 * (numbers // 2)]
    angle = generator.uniform(-ROTATION_RADIANS, ROTATION_RADIANS, (len(rows), 1)).astype(np.float32)
    x, y = rows[:, first].copy(), rows[:, second].copy()
    rows[:, first] = np.cos(angle) * x - np.sin(angle) * y
    rows[:, second] = np.sin(angle) * x + np.cos(angle) * y
