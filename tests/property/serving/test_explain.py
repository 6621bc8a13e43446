"""What Shapley values must keep, and what LIME should, on games small enough to be enumerated."""

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.serving.explain.lime import Lime
from services.serving.explain.method import Attribution, Floats, Game, Indices, Method
from services.serving.explain.shapley import Shapley

Function = Callable[[Floats], Floats]

EXACT = 1 << 12
METHODS: tuple[Method, ...] = (Shapley(), Lime())


def game_of(function: Function, row: Floats, references: Floats) -> Game:
    """The game of `row` for a plain function of a matrix `[rows, players]` to `[rows, outputs]`."""
    stack = np.vstack([references, row])

    def evaluate(indices: Indices) -> Floats:
        return function(stack[indices, np.arange(len(row))])

    return Game(evaluate, references == row)


def enumerated(function: Function, row: Floats, references: Floats) -> Floats:
    """Shapley values by their definition: every coalition, every player. O(2^players * players)."""
    players = len(row)

    def worth(coalition: tuple[int, ...]) -> Floats:
        mixed = references.copy()
        mixed[:, list(coalition)] = row[list(coalition)]
        return np.asarray(function(mixed).mean(axis=0))

    values = np.zeros((players, worth(()).size))
    for i in range(players):
        others = [j for j in range(players) if j != i]
        for size in range(players):
            weight = math.factorial(size) * math.factorial(players - size - 1) / math.factorial(players)
            for coalition in combinations(others, size):
                values[i] += weight * (worth((*coalition, i)) - worth(coalition))
    return values


def crooked(weights: Floats) -> Function:
    """A function of two outputs with interactions of every order; features of weight 0 have no effect."""

    def function(x: Floats) -> Floats:
        first = np.tanh(x @ weights) + np.prod(1 + 0.1 * x * (weights != 0), axis=1)
        return np.stack([first, np.max(x * weights, axis=1, initial=0.0)], axis=1)

    return function


@st.composite
def problems(draw: st.DrawFn, most_players: int = 5) -> tuple[Floats, Floats, Floats]:
    """(weights, row, references), with ties between row and references and weights of 0 among them."""
    players = draw(st.integers(1, most_players))
    number = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5])
    weights = draw(st.lists(number, min_size=players, max_size=players))
    rows = draw(st.lists(st.lists(number, min_size=players, max_size=players), min_size=2, max_size=5))
    return np.array(weights), np.array(rows[0]), np.array(rows[1:])


def attributed(method: Method, game: Game, samples: int, seed: int = 0) -> Attribution:
    return method.attribute(game, samples, seed)


@given(problems())
def test_shapley_values_are_those_of_the_definition(problem: tuple[Floats, Floats, Floats]) -> None:
    weights, row, references = problem
    found = attributed(Shapley(), game_of(crooked(weights), row, references), EXACT)
    assert found.algorithm == "exact"
    np.testing.assert_allclose(found.values, enumerated(crooked(weights), row, references), atol=1e-9)


@given(problems(most_players=8), st.integers(0, 2**32 - 1), st.sampled_from([20, 60, EXACT]))
def test_base_and_contributions_sum_to_the_output(
    problem: tuple[Floats, Floats, Floats], seed: int, samples: int
) -> None:
    """Whether all coalitions were seen or few permutations: the sum is exact, the seed decides the rest."""
    weights, row, references = problem
    game = game_of(crooked(weights), row, references)
    found = attributed(Shapley(), game, samples, seed)
    output = crooked(weights)(row[None])[0]
    np.testing.assert_allclose(found.base + found.values.sum(axis=0), output, atol=1e-9)
    again = attributed(Shapley(), game, samples, seed)
    assert (again.values == found.values).all()
    assert (again.base == found.base).all()


@given(problems(), st.sampled_from([11, EXACT]))
def test_a_feature_without_effect_contributes_nothing(problem: tuple[Floats, Floats, Floats], samples: int) -> None:
    weights, row, references = problem
    dummy = np.append(weights, 0.0)
    game = game_of(crooked(dummy), np.append(row, 7.0), np.hstack([references, np.zeros((len(references), 1))]))
    found = attributed(Shapley(), game, max(samples, 2 * game.players + 1))
    np.testing.assert_allclose(found.values[-1], 0, atol=1e-12)


@given(problems())
def test_features_that_do_the_same_contribute_the_same(problem: tuple[Floats, Floats, Floats]) -> None:
    weights, row, references = problem
    twins = np.append(weights, weights[0])
    game = game_of(crooked(twins), np.append(row, row[0]), np.hstack([references, references[:, :1]]))
    found = attributed(Shapley(), game, EXACT)
    np.testing.assert_allclose(found.values[0], found.values[-1], atol=1e-9)


@given(problems(most_players=12), st.integers(0, 2**32 - 1), st.booleans())
def test_of_a_linear_model_they_have_a_closed_form(
    problem: tuple[Floats, Floats, Floats], seed: int, few: bool
) -> None:
    """phi_i = w_i (x_i - mean of i), by a single permutation already."""
    weights, row, references = problem
    game = game_of(lambda x: (x @ weights)[:, None], row, references)
    found = attributed(Shapley(), game, 2 * game.players + 1 if few else EXACT, seed)
    np.testing.assert_allclose(found.values[:, 0], weights * (row - references.mean(axis=0)), atol=1e-9)
    np.testing.assert_allclose(found.base, (references @ weights).mean(), atol=1e-9)


@settings(max_examples=25)
@given(problems(), st.integers(0, 2**32 - 1))
def test_lime_comes_near_the_closed_form_of_a_linear_model(problem: tuple[Floats, Floats, Floats], seed: int) -> None:
    """Within its sampling error: 20,000 rows, weights of at most 2 on values of at most 2."""
    weights, row, references = problem
    game = game_of(lambda x: (x @ weights)[:, None], row, references)
    found = attributed(Lime(), game, 20_000, seed)
    np.testing.assert_allclose(found.values[:, 0], weights * (row - _changed_mean(row, references)), atol=0.35)
    assert found.fidelity is not None
    assert -1e-9 <= found.fidelity[0] <= 1 + 1e-9


def _changed_mean(row: Floats, references: Floats) -> Floats:
    """The mean of the reference values that differ from the row's: LIME's zero is a changed value."""
    changed = references != row
    count = changed.sum(axis=0)
    return np.where(count > 0, (references * changed).sum(axis=0) / np.maximum(count, 1), row)


@given(problems(), st.integers(0, 2**32 - 1))
def test_where_nothing_varies_nothing_contributes(problem: tuple[Floats, Floats, Floats], seed: int) -> None:
    weights, row, _ = problem
    game = game_of(crooked(weights), row, np.repeat(row[None], 3, axis=0))
    for method in METHODS:
        found = attributed(method, game, 100, seed)
        assert (found.values == 0).all()
        np.testing.assert_allclose(found.base, crooked(weights)(row[None])[0])


@settings(max_examples=20)
@given(problems(), st.integers(0, 2**32 - 1))
def test_lime_gives_the_same_for_the_same_seed(problem: tuple[Floats, Floats, Floats], seed: int) -> None:
    weights, row, references = problem
    game = game_of(crooked(weights), row, references)
    assert (attributed(Lime(), game, 200, seed).values == attributed(Lime(), game, 200, seed).values).all()
