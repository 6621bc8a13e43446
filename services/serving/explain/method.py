"""What a method of explanation is given, and what it gives. Pure.

The setting is a cooperative game (Shapley 1953; Štrumbelj and Kononenko 2014): the players are the features of one row.
In a coalition S the features of S have the row's values and the others those of a reference row, one of the version's
baseline sample. A masked row is written as indices: `indices[n, i]` says which reference row lends row `n` its feature
`i`; `own` stands for the explained row itself. So strings, integers and missing values need no encoding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Game:
    """One row's game. `evaluate(indices [rows, players])` gives the outputs `[rows, outputs]`.

    `same[b, i]`: reference row `b` has the explained row's value in feature `i`.
    """

    evaluate: Callable[[Indices], Floats]
    same: NDArray[np.bool_]

    def of(self, output: int) -> "Game":
        """The same game for one of the outputs."""
        return Game(lambda indices: self.evaluate(indices)[:, output : output + 1], self.same)

    @property
    def references(self) -> int:
        """Reference rows."""
        return int(self.same.shape[0])

    @property
    def players(self) -> int:
        """Features."""
        return int(self.same.shape[1])

    @property
    def own(self) -> int:
        """The index that stands for the explained row."""
        return self.references

    @property
    def varying(self) -> int:
        """Features in which any reference row differs from the explained one; the others contribute nothing."""
        return int((~self.same).any(axis=0).sum())


@dataclass(frozen=True)
class Attribution:
    """`values[player, output]` and `base[output]` should sum to the output of the row.

    `algorithm` names how they were found, `samples` how many coalitions (or perturbed rows) that took; `fidelity` is
    the share of the variance (R²) that a local model explains, where there is one, by output.
    """

    base: Floats
    values: Floats
    algorithm: str
    samples: int
    fidelity: Floats | None = None


class Method(Protocol):
    """A way to attribute. Deterministic: the same game and seed give the same attribution, bit by bit."""

    name: str
    whole_sample: bool
    """Whether its reference rows are the whole baseline sample, or a small drawn part that every coalition meets."""

    def default_samples(self, players: int) -> int:
        """How many samples to take when nobody says."""

    def rough_samples(self, players: int) -> int:
        """How many are enough for each of many rows whose attributions are averaged."""

    def evaluations(self, samples: int, references: int) -> int:
        """How many rows the graph is asked, at most, with so many `samples`."""

    def attribute(self, game: Game, samples: int, seed: int) -> Attribution:
        """Attribute the game's outputs to its players. Raises `InvalidInput` when `samples` are too few."""


def nothing_varies(game: Game, algorithm: str) -> Attribution:
    """All reference rows are the explained row: nothing contributes."""
    base = game.evaluate(np.full((1, game.players), game.own, dtype=np.intp))[0]
    return Attribution(base, np.zeros((game.players, base.size)), algorithm, 1)


def as_matrix(values: Any) -> Floats:
    """`values` with an axis of outputs."""
    array = np.asarray(values, dtype=np.float64)
    return array if array.ndim == 2 else array.reshape(-1, 1)
