"""Routing: shares, stickiness, and that a change of weights moves only who must move."""

from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import DeploymentWanted, Route
from services.serving.router import RoutePlan


def plan(weights: dict[str, float], fallback: str | None = None) -> RoutePlan:
    def route(name: str, weight: float) -> Route:
        version = f"1.0.{int.from_bytes(name.encode()) % 1000}"
        return Route(name=name, version=version, weight=weight, artifact="a", manifest_digest="d")

    return RoutePlan(
        DeploymentWanted(
            model_id="m",
            revision=1,
            routes=tuple(route(name, weight) for name, weight in weights.items()),
            fallback=route(fallback, 0) if fallback else None,
            since=datetime(2026, 1, 1, tzinfo=UTC),
        )
    )


names = st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=5, unique=True)
plans = names.flatmap(lambda n: st.fixed_dictionaries({name: st.floats(0.5, 30) for name in n}))
keys = st.text(max_size=20)


@given(plans, keys)
def test_a_key_always_gets_the_same_route(weights: dict[str, float], key: str) -> None:
    shuffled = dict(reversed(list(weights.items())))
    assert plan(weights).choose(key, 0.1).name == plan(shuffled).choose(key, 0.9).name


@given(plans, keys, st.data())
def test_raising_one_weight_moves_keys_only_to_that_route(
    weights: dict[str, float], key: str, data: st.DataObject
) -> None:
    raised = data.draw(st.sampled_from(sorted(weights)))
    before = plan(weights).choose(key, 0).name
    after = plan({**weights, raised: weights[raised] * 3}).choose(key, 0).name
    assert after in (before, raised)


@given(plans, keys, st.data())
def test_removing_a_route_moves_only_its_own_keys(weights: dict[str, float], key: str, data: st.DataObject) -> None:
    removed = data.draw(st.sampled_from(sorted(weights)))
    before = plan(weights).choose(key, 0).name
    after = plan({**weights, removed: 0.0}).choose(key, 0).name
    assert after == before or before == removed
    assert after != removed


@given(plans, st.floats(0, 1, exclude_max=True))
def test_a_draw_lands_in_its_share(weights: dict[str, float], draw: float) -> None:
    chosen = plan(weights).choose(None, draw).name
    total, reached = sum(weights.values()), 0.0
    for name, weight in weights.items():
        if name == chosen:
            assert reached / total <= draw + 1e-9
            assert draw - 1e-9 <= (reached + weight) / total
        reached += weight


def test_keys_are_shared_out_by_weight() -> None:
    counts = Counter(plan({"stable": 90, "canary": 10}).choose(f"user-{i}", 0).name for i in range(20_000))
    assert 0.09 < counts["canary"] / 20_000 < 0.11


def test_a_route_without_weight_gets_nothing() -> None:
    routes = plan({"stable": 100, "canary": 0}, fallback="old")
    assert {routes.choose(f"{i}", i / 1000).name for i in range(1000)} == {"stable"}


def test_nothing_falls_back_to_the_version_that_failed() -> None:
    routes = plan({"a": 100}, fallback="a")
    assert routes.instead_of(routes.routes[0].version) is None
    assert routes.instead_of("9.9.9") is not None
