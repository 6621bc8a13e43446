"""LIME: a weighted linear model around one row. Runs in the child only.

Perturbed rows keep each of the row's values with probability 1/2 and take it from a drawn row of the baseline sample
otherwise, each feature for itself. `z[n, i]` is 1 where row `n` has the explained row's value. Weights fall with the
distance `d` = the square root of the number of changed features: `exp(-d² / width²)`, `width = 0.75 sqrt(M)`. A ridge
regression on `z` with these weights gives the contributions; its constant is the base value.

Other than in the paper's tabular variant numbers are not binned: a value is the row's own or it is not. So the two
methods answer the same question, what a value does against the baseline's, and are read the same way. The local model
need not meet the row's output: `additivity_error` tells by how much it misses, `fidelity` (the weighted R²) how well it
describes the neighbourhood.

Source: Ribeiro, Singh and Guestrin, "Why should I trust you? Explaining the predictions of any classifier" (KDD 2016),
sections 3.2 to 3.4.
"""

from dataclasses import replace

import numpy as np

from services.kernel.errors import InvalidInput
from services.serving.explain.method import Attribution, Game, nothing_varies

DEFAULT_SAMPLES = 5_000
WIDTH = 0.75
RIDGE = 1.0
"""Strength of the ridge, as in the authors' implementation."""


class Lime:
    """See `method.Method`."""

    name = "lime"
    whole_sample = True

    def default_samples(self, players: int) -> int:
        """The authors' default, or ten a feature."""
        return max(DEFAULT_SAMPLES, 10 * players)

    def rough_samples(self, players: int) -> int:
        """A fifth of the default."""
        return self.default_samples(players) // 5

    def evaluations(self, samples: int, references: int) -> int:
        """Each perturbed row is evaluated once."""
        return samples

    def attribute(self, game: Game, samples: int, seed: int) -> Attribution:
        """See `method.Method`. O(samples * players²)."""
        if game.varying == 0:
            nothing = nothing_varies(game, "ridge")
            return replace(nothing, fidelity=np.ones_like(nothing.base))
        if samples < game.players + 2:
            raise InvalidInput(f"samples is {samples}; {game.players} features need at least {game.players + 2}")
        random = np.random.default_rng(seed)
        drawn = random.integers(0, game.references, size=(samples, game.players), dtype=np.intp)
        own = random.random((samples, game.players)) < 0.5
        own[0] = True  # the row itself
        outputs = game.evaluate(np.where(own, game.own, drawn))
        z = (own | game.same[drawn, np.arange(game.players)]).astype(np.float64)
        changed = game.players - z.sum(axis=1)
        weights = np.exp(-changed / (WIDTH**2 * game.players))
        ridge = RIDGE / weights.sum()
        weights /= weights.sum()
        z_mean, y_mean = weights @ z, weights @ outputs
        centred, targets = z - z_mean, outputs - y_mean
        weighted = centred * weights[:, None]
        gram = weighted.T @ centred + np.eye(game.players) * ridge
        values = np.linalg.solve(gram, weighted.T @ targets)
        left = weights @ (targets - centred @ values) ** 2
        spread = weights @ targets**2
        fidelity = np.where(spread > 0, 1 - left / np.where(spread > 0, spread, 1), 1.0)
        return Attribution(y_mean - z_mean @ values, values, "ridge", samples, fidelity)
