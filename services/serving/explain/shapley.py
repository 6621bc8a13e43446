"""Shapley values by the `shap` library, of any model. Runs in the child only.

    phi_i = sum over S without i of  |S|! (M - |S| - 1)! / M!  *  (v(S + i) - v(S))

with `v(S)` the mean output over the reference rows (interventional, Janzing et al. 2020). Up to the asked number of
coalitions all 2^V of them are evaluated (V: features that vary; `exact`). Beyond that, permutations are drawn and
walked forwards and back (`permutation`; Mitchell et al. 2022, antithetic), which keeps the sum exact and makes the
single values estimates; it is exact for models without interactions of more than two features.

Sources: Shapley, "A value for n-person games" (1953); Lundberg and Lee, "A unified approach to interpreting model
predictions" (2017), whose library does the work.
"""

import numpy as np
from shap.explainers import ExactExplainer, PermutationExplainer

from services.kernel.errors import InvalidInput
from services.serving.explain.method import Attribution, Floats, Game, Indices, as_matrix, nothing_varies

LEAST_SAMPLES = 1024
"""Coalitions of a default explanation: ten features are exact."""
ROUGH_SAMPLES = 256
DEFAULT_WALKS = 4
BATCH_ROWS = 8192
"""Masked rows that are made and evaluated at once."""


class IndexMasker:
    """Masks by indices of reference rows (see `method`), so that no value is encoded. What shap asks of a masker."""

    immutable_outputs = True

    def __init__(self, game: Game) -> None:
        self.shape = (game.references, game.players)
        self._own = game.own
        self._same = game.same
        self._references: Indices = np.repeat(np.arange(game.references)[:, None], game.players, axis=1)

    def __call__(self, mask: "np.ndarray[tuple[int], np.dtype[np.bool_]]", *_: object) -> tuple[Indices]:
        """Every reference row, with the explained row's values where `mask` is set."""
        return (np.where(mask, self._own, self._references),)

    def invariants(self, *_: object) -> "np.ndarray[tuple[int, int], np.dtype[np.bool_]]":
        """Where a reference row does not differ from the explained one; shap does not evaluate that again."""
        return self._same


class Shapley:
    """See `method.Method`."""

    name = "shapley"
    whole_sample = False

    def default_samples(self, players: int) -> int:
        """Enough for all coalitions of ten features, or some permutations of more."""
        return max(LEAST_SAMPLES, DEFAULT_WALKS * (2 * players + 1))

    def rough_samples(self, players: int) -> int:
        """All coalitions of eight features, or some permutations of more."""
        return max(ROUGH_SAMPLES, DEFAULT_WALKS * (2 * players + 1))

    def evaluations(self, samples: int, references: int) -> int:
        """Every coalition meets every reference row."""
        return samples * references

    def attribute(self, game: Game, samples: int, seed: int) -> Attribution:
        """See `method.Method`. O(samples * references) evaluations, fewer where values are the same."""
        varying = game.varying
        if varying == 0:
            return nothing_varies(game, "exact")
        exact = varying < 31 and 2**varying <= samples
        walk = 2 * varying + 1
        if not exact and samples < walk:
            raise InvalidInput(f"samples is {samples}; {varying} features that vary need at least {walk}")

        def evaluate(indices: Indices) -> Floats:
            outputs = game.evaluate(indices)
            return outputs[:, 0] if outputs.shape[1] == 1 else outputs

        masker = IndexMasker(game)
        used = 2**varying if exact else samples // walk * walk
        explainer = ExactExplainer(evaluate, masker) if exact else PermutationExplainer(evaluate, masker, seed=seed)
        found = explainer(
            np.zeros((1, game.players)),
            max_evals=used,
            batch_size=max(1, BATCH_ROWS // game.references),
            silent=True,
        )
        base = np.atleast_1d(np.asarray(found.base_values[0], dtype=np.float64))
        return Attribution(base, as_matrix(found.values[0]), "exact" if exact else "permutation", used)
