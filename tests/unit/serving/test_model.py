"""Wanted state and eviction, pure."""

from datetime import UTC, datetime

import pytest

from schemas.events import DeploymentWanted, Route
from schemas.features import DType, Feature, Output, Signature
from services.serving.model import Resident, evictions, refs_of, sample_row, servable


def route(name: str, version: str, weight: float) -> Route:
    return Route(name=name, version=version, weight=weight, artifact=f"a/{version}", manifest_digest="d")


WANTED = DeploymentWanted(
    model_id="m",
    revision=3,
    routes=(route("production", "1.0.0", 90), route("canary", "1.0.1", 10)),
    shadow=route("shadow", "1.0.1", 0),
    fallback=route("fallback", "0.9.0", 0),
    since=datetime(2026, 1, 1, tzinfo=UTC),
)


def test_every_version_is_needed_once() -> None:
    assert [ref.version for ref in refs_of(WANTED)] == ["1.0.0", "1.0.1", "0.9.0"]


def test_routes_without_their_version_are_left_out() -> None:
    production, canary, fallback = refs_of(WANTED)
    partly = servable(WANTED, {production, fallback})
    assert partly is not None
    assert [r.name for r in partly.routes] == ["production"]
    assert (partly.shadow, partly.fallback) == (None, WANTED.fallback)
    assert servable(WANTED, {fallback}) is None
    assert servable(WANTED, {production, canary, fallback}) == WANTED


def resident(model_id: str, used_at: float, *, size: int = 10, **state: bool) -> Resident:
    return Resident(model_id, used_at, size, **state)


@pytest.mark.parametrize(
    ("residents", "max_models", "max_bytes", "gone"),
    [
        ([resident("a", 1), resident("b", 2)], 2, 100, []),
        ([resident("b", 2), resident("a", 1), resident("c", 3)], 2, 100, ["a"]),
        ([resident("a", 1, held=True), resident("b", 2), resident("c", 3)], 2, 100, ["b"]),
        ([resident("a", 1, idle=False), resident("b", 2), resident("c", 3)], 2, 100, ["b"]),
        ([resident("a", 1, idle=False), resident("b", 2), resident("c", 3)], 1, 100, ["b", "a"]),
        ([resident("a", 1, pinned=True), resident("b", 2), resident("c", 3)], 1, 100, ["b"]),
        ([resident("a", 1, pinned=True), resident("b", 2), resident("c", 3)], 5, 20, ["b"]),
        ([resident("a", 1, pinned=True), resident("b", 2), resident("c", 3)], 5, 15, ["b", "a"]),
        ([resident("a", 1, size=90), resident("b", 2)], 5, 50, ["a"]),
        ([resident("a", 1, size=900)], 1, 50, []),
    ],
)
def test_the_least_recently_used_goes_first(
    residents: list[Resident], max_models: int, max_bytes: int, gone: list[str]
) -> None:
    assert evictions(residents, max_models=max_models, max_bytes=max_bytes) == gone


def test_a_sample_row_fits() -> None:
    signature = Signature(
        inputs=(
            Feature(name="a", dtype=DType.FLOAT32, minimum=2, maximum=4),
            Feature(name="b", dtype=DType.INT8, minimum=5),
            Feature(name="c", dtype=DType.STRING, categories=("x", "y")),
            Feature(name="d", dtype=DType.BOOL),
            Feature(name="e", dtype=DType.FLOAT64, shape=(2, 2)),
        ),
        outputs=(Output(name="o", dtype=DType.FLOAT32),),
    )
    a, b, c, d, e = sample_row(signature)
    assert (a, b, c, d) == (3.0, 5, "x", False)
    assert getattr(e, "shape", None) == (2, 2)
