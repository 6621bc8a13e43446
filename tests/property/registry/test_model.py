"""The registry's rules: stages, version numbers, routes."""

import doctest
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from schemas.base import Version
from schemas.events import Route, Stage
from schemas.features import DType, Feature, Output, Signature
from services.registry import model
from services.registry.model import (
    Past,
    RuleBroken,
    WantedRoutes,
    after_promotion,
    check_compatible,
    check_deployable,
    check_move,
    check_routes,
    full_route,
    next_version,
    parse_version,
    rollback_target,
    split_routes,
    with_canary,
)

stages = st.sampled_from(Stage)
days = st.dates(date(2020, 1, 1), date(2099, 12, 31))
numbers = st.tuples(st.integers(0, 1000), st.integers(0, 1000), st.integers(0, 99_999_999))
percents = st.floats(0.001, 99.999)


def route(version: str, weight: float = 100.0, name: str = "stable") -> Route:
    return Route(name=name, version=version, weight=weight, artifact=f"models/m/{version}", manifest_digest="0" * 64)


def test_the_examples_in_the_module_are_true() -> None:
    assert doctest.testmod(model).failed == 0


@given(origin=stages, target=stages, was=st.booleans())
def test_moves_follow_the_drawing(origin: Stage, target: Stage, was: bool) -> None:
    legal = {
        ("draft", "staging"),
        ("draft", "archived"),
        ("staging", "production"),
        ("staging", "archived"),
        ("production", "archived"),
        ("archived", "staging"),
    } | ({("archived", "production")} if was else set())
    if (origin.value, target.value) in legal:
        check_move("1.0.0", origin, target, was_in_production=was)
    else:
        with pytest.raises(RuleBroken, match=r"."):
            check_move("1.0.0", origin, target, was_in_production=was)


@given(path=st.lists(stages, max_size=12))
def test_no_version_reaches_production_untested(path: list[Stage]) -> None:
    """Whatever is asked, in whatever order: staging comes before production, and draft never returns."""
    stage, seen = Stage.DRAFT, [Stage.DRAFT]
    for target in path:
        try:
            check_move("1.0.0", stage, target, was_in_production=Stage.PRODUCTION in seen)
        except RuleBroken:
            continue
        stage = target
        seen.append(stage)
    assert Stage.DRAFT not in seen[1:]
    if Stage.PRODUCTION in seen:
        assert Stage.STAGING in seen[: seen.index(Stage.PRODUCTION)]


@given(stage=stages)
def test_only_staging_and_production_get_traffic(stage: Stage) -> None:
    if stage in (Stage.STAGING, Stage.PRODUCTION):
        check_deployable("1.0.0", stage)
    else:
        with pytest.raises(RuleBroken, match="promote it"):
            check_deployable("1.0.0", stage)


@given(newest=numbers, today=days)
def test_an_allotted_version_is_newer_than_all_and_valid(newest: tuple[int, int, int], today: date) -> None:
    version = next_version(newest, today)
    assert TypeAdapter(Version).validate_python(version) == version
    assert parse_version(version) > newest
    assert parse_version(version)[2] == int(f"{today:%Y%m%d}")


@given(start=days, gaps=st.lists(st.integers(-2, 3), max_size=30))
def test_minor_never_falls_back_whatever_the_clock_does(start: date, gaps: list[int]) -> None:
    today, newest, versions = start, None, []
    for gap in gaps:
        versions.append(next_version(newest, today))
        newest = parse_version(versions[-1])
        today = max(date(2020, 1, 1), today + timedelta(gap))
    numbers = [parse_version(version) for version in versions]
    assert numbers == sorted(set(numbers))
    assert [number[1] for number in numbers] == sorted(number[1] for number in numbers)


def test_minor_counts_the_versions_of_a_day() -> None:
    day, version = date(2024, 6, 14), None
    made = []
    for _ in range(3):
        made.append(next_version(version, day))
        version = parse_version(made[-1])
    assert made == ["1.0.20240614", "1.1.20240614", "1.2.20240614"]
    assert next_version(version, date(2024, 6, 15)) == "1.2.20240615"


@given(percent=percents, first=st.floats(0, 100))
def test_a_canary_leaves_the_rest_to_the_heaviest_other(percent: float, first: float) -> None:
    current = (route("1.0.1", first, "a"), route("1.0.2", 100 - first, "b"))
    routes = with_canary(current, route("1.0.3"), percent)
    check_routes(WantedRoutes(routes))
    assert [r.name for r in routes] == ["stable", "canary"]
    assert routes[0].version == ("1.0.1" if first >= 100 - first else "1.0.2")
    assert routes[1].weight == percent


@given(percent=percents, again=percents)
def test_a_canary_may_grow(percent: float, again: float) -> None:
    routes = with_canary(with_canary(full_route(route("1.0.1")), route("1.0.2"), percent), route("1.0.2"), again)
    assert [(r.version, r.weight) for r in routes] == [("1.0.1", 100.0 - again), ("1.0.2", again)]


@pytest.mark.parametrize("percent", [0, 100, -1, 101, float("nan"), float("inf")])
def test_a_canary_is_a_part(percent: float) -> None:
    with pytest.raises(RuleBroken):
        with_canary(full_route(route("1.0.1")), route("1.0.2"), percent)


def test_a_canary_needs_something_beside_it() -> None:
    with pytest.raises(RuleBroken, match="nothing is deployed"):
        with_canary((), route("1.0.2"), 10)
    with pytest.raises(RuleBroken, match="all the traffic already"):
        with_canary(full_route(route("1.0.2")), route("1.0.2"), 10)


@given(weights=st.lists(st.floats(0, 100), min_size=1, max_size=5))
def test_weights_must_add_up(weights: list[float]) -> None:
    routes = tuple(route(f"1.0.{i}", weight, f"r{i}") for i, weight in enumerate(weights))
    if abs(sum(weights) - 100) <= 1e-6:
        check_routes(WantedRoutes(routes))
    elif abs(sum(weights) - 100) > 2e-6:
        with pytest.raises(RuleBroken, match="add up to"):
            check_routes(WantedRoutes(routes))


def test_thirds_are_enough() -> None:
    third = 100 / 3
    check_routes(WantedRoutes(tuple(route(f"1.0.{i}", third, f"r{i}") for i in range(3))))


def test_routes_differ_in_name_and_version() -> None:
    with pytest.raises(RuleBroken, match="same name"):
        check_routes(WantedRoutes((route("1.0.1", 50), route("1.0.2", 50))))
    with pytest.raises(RuleBroken, match="same version"):
        check_routes(WantedRoutes((route("1.0.1", 50, "a"), route("1.0.1", 50, "b"))))


def test_a_shadow_gets_no_traffic() -> None:
    with pytest.raises(RuleBroken, match="shadow"):
        check_routes(WantedRoutes((route("1.0.1"),), shadow=route("1.0.1")))
    with pytest.raises(RuleBroken, match="nothing to shadow"):
        check_routes(WantedRoutes((), shadow=route("1.0.1")))
    check_routes(WantedRoutes(()))


def test_the_versions_of_a_deployment_are_listed_once() -> None:
    wanted = WantedRoutes((route("1.0.2"),), shadow=route("1.0.3"), fallback=route("1.0.2"))
    assert wanted.versions == ["1.0.2", "1.0.3"]


def test_split_by_weights() -> None:
    versions = {version: route(version) for version in ("1.0.1", "1.0.2")}
    routes = split_routes(versions, {"1.0.1": 70, "1.0.2": 30})
    assert [(r.name, r.weight) for r in routes] == [("1.0.1", 70.0), ("1.0.2", 30.0)]


def test_promoting_a_canary_ends_it() -> None:
    routes = with_canary(full_route(route("1.0.1")), route("1.0.2"), 10)
    after = after_promotion(routes, "1.0.2")
    assert after is not None
    assert [(r.name, r.version, r.weight) for r in after] == [("stable", "1.0.2", 100.0)]
    assert after_promotion(routes, "1.0.3") is None
    assert after_promotion(after, "1.0.2") is None
    assert after_promotion((), "1.0.2") is None


def test_versions_of_one_deployment_take_the_same_inputs() -> None:
    def signature(**inputs: DType) -> Signature:
        return Signature(
            inputs=tuple(Feature(name=name, dtype=dtype) for name, dtype in inputs.items()),
            outputs=(Output(name="y", dtype=DType.FLOAT32),),
        )

    same = signature(a=DType.FLOAT32, b=DType.STRING)
    check_compatible([("1.0.1", same), ("1.0.2", signature(b=DType.STRING, a=DType.FLOAT32))])
    for other in (signature(a=DType.FLOAT32), signature(a=DType.FLOAT32, b=DType.INT64)):
        with pytest.raises(RuleBroken, match="inputs b"):
            check_compatible([("1.0.1", same), ("1.0.2", other)])


def past(*states: str | tuple[str, int]) -> list[Past]:
    """States as letters of versions (`"ab"`), or (letters, restored revision), numbered from 1."""
    made = []
    for revision, state in enumerate(states, 1):
        letters, restores = state if isinstance(state, tuple) else (state, None)
        made.append(Past(revision, frozenset(letters), restores))
    return made


@pytest.mark.parametrize(
    ("states", "target"),
    [
        (past("a"), None),
        (past("a", "b"), 1),
        (past("a", "ab", "ab", "b"), 1),  # a whole rollout, not its last step
        (past("a", "ab"), 1),
        (past("a", "b", ("a", 1)), None),  # not forward to b again
        (past("a", "b", "c", ("b", 2)), 1),
        (past("a", "b", ("a", 1), "c"), 3),
        (past("a", "b", ("a", 1), "b"), 3),
        (past("a", ""), 1),
        (past("", "a"), None),
    ],
)
def test_where_a_rollback_goes(states: list[Past], target: int | None) -> None:
    found = rollback_target(states)
    assert (found.revision if found else None) == target


@given(st.lists(st.sets(st.sampled_from("abcd"), max_size=3), min_size=1, max_size=8))
def test_rolling_back_again_and_again_ends(states: list[set[str]]) -> None:
    """Every rollback goes further back than the one before, whatever was deployed."""
    history = [Past(revision, frozenset(versions)) for revision, versions in enumerate(states, 1)]
    reached = len(history)
    while (target := rollback_target(history)) is not None:
        origin = target.restores or target.revision
        assert origin < reached
        reached = origin
        history.append(Past(len(history) + 1, target.versions, origin))
