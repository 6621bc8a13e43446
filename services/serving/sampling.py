"""Which requests of a batch are logged when only a share of them is, and what their predictions are called.

The lot is drawn by request, for all of its rows together: protocol V2 promises that the ids of a request's rows count
up. Rows that are not logged take no sequence number, so the numbers of the log have no holes; they count up in a series
of their own, and their ids do not read as ids of the log.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.predictions import prediction_id, sampled_out_id
from services.serving.columns import Mask

_random = np.random.default_rng()


def draw(counts: list[int], share: float) -> Mask:
    """Whether each row is logged, for requests of `counts` rows. A request is, with the probability `share`."""
    return np.repeat(_random.random(len(counts)) < share, counts)


@dataclass(frozen=True, slots=True)
class Drawn:
    """The rows of a batch after the lot: `kept` by row; logged rows count up from `first_logged`, the others from
    `first_left_out`, each in the batch's order."""

    kept: Mask
    first_logged: int
    first_left_out: int

    def numbers(self) -> NDArray[np.int64]:
        """By row, its number in its series.

        >>> Drawn(np.array([True, False, True]), 10, 3).numbers().tolist()
        [10, 3, 11]
        """
        logged, left_out = np.cumsum(self.kept), np.cumsum(~self.kept)
        return np.where(self.kept, self.first_logged + logged - 1, self.first_left_out + left_out - 1)

    def ids(self, incarnation: str) -> list[str]:
        """By row, the prediction's id."""
        return [
            prediction_id(incarnation, number) if kept else sampled_out_id(incarnation, number)
            for kept, number in zip(self.kept.tolist(), self.numbers().tolist(), strict=True)
        ]
