"""Which rows validate and which are held out: seeded or by hash, so that the same rows give the same parts."""

import hashlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from services.kernel.errors import InvalidInput


def stratified_split(labels: pa.Array, fraction: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(training, validation) row indices, ascending. Of each class with n >= 2 rows, `round(fraction * n)` rows but at
    least one and at most n - 1 validate; a class of one row is trained on. The same seed gives the same split."""
    generator = np.random.default_rng(seed)
    codes = np.asarray(labels.dictionary_encode().indices)
    chosen = []
    for code in range(int(codes.max()) + 1):
        rows = generator.permutation(np.flatnonzero(codes == code))
        count = min(max(round(fraction * rows.size), 1), rows.size - 1)
        chosen.append(rows[:count])
    validation = np.sort(np.concatenate(chosen)).astype(np.int64)
    if validation.size == 0:
        raise InvalidInput("datasetConfig.trainPath: every class has only one row, so none is left to validate with")
    return np.setdiff1d(np.arange(codes.size), validation).astype(np.int64), validation


def held_out(identifier: str, fraction: float) -> bool:
    """Whether the row `identifier` is held out: the first 8 bytes of its SHA-256, as a number in [0, 1), < fraction."""
    return int.from_bytes(hashlib.sha256(identifier.encode()).digest()[:8]) / 2**64 < fraction
