"""More models than may be in memory: every request is answered, and the limits hold."""

import asyncio
import tempfile
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.serving.loader import load
from tests.unit.serving.stage import Stage, staged
from tests.waiting import until

LARGE = 4_000
"""Rows of a batch whose body is read in a thread."""


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty pool with room for one model."""
    async with staged(tmp_path, serving_max_models=1, serving_queue_rows=1 << 20) as made:
        yield made


async def deployed(stage: Stage, *models: str, pinned: str | None = None) -> None:
    for model_id in models:
        stage.want(model_id, "1.0.0", 1, pinned=model_id == pinned)
    await until(lambda: stage.pool.converged.keys() >= set(models), 30, "all are deployed")


async def test_two_models_in_room_for_one_answer_every_request(stage: Stage) -> None:
    await deployed(stage, "a", "b")
    seen: Counter[tuple[str, int]] = Counter()

    async def caller(number: int) -> None:
        for turn in range(15):
            model_id = "ab"[(number + turn) % 2]
            answer = await stage.ask(model_id, LARGE if number == 0 and turn % 5 == 0 else 1)
            seen[model_id, answer.status_code] += 1

    await asyncio.gather(*(caller(number) for number in range(24)))
    assert seen == {("a", 200): 180, ("b", 200): 180}
    await until(lambda: len(stage.catalog.models) == 1, 10, "room for one")
    await until(lambda: len(stage.pool.versions()) == 1, 10, "memory for one")


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    limit=st.integers(1, 3),
    calls=st.lists(
        st.tuples(st.sampled_from("abcd"), st.integers(0, 20), st.sampled_from((1, 1, 1, 3, LARGE))),
        min_size=1,
        max_size=20,
    ),
    unpinned=st.booleans(),
)
def test_any_schedule_of_requests_is_answered(limit: int, calls: list[tuple[str, int, int]], unpinned: bool) -> None:
    async def play(root: Path) -> None:
        async with staged(root, serving_max_models=limit, serving_queue_rows=1 << 20) as stage:
            await deployed(stage, *"abcd", pinned=None if unpinned else "a")

            async def call(model_id: str, turns: int, rows: int) -> int:
                for _ in range(turns):
                    await asyncio.sleep(0)
                return (await stage.ask(model_id, rows)).status_code

            statuses = await asyncio.gather(*(call(*each) for each in calls))
            assert set(statuses) == {200}
            await until(lambda: len(stage.catalog.models) <= limit + (not unpinned), 10, "the limit")

    with tempfile.TemporaryDirectory() as name:
        asyncio.run(play(Path(name)))


async def test_all_who_ask_for_a_model_wait_for_one_load(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await deployed(stage, "a", "b")
    [gone] = {"a", "b"} - stage.catalog.models.keys()
    loads: list[str] = []

    def noting(ref, *arguments, **options):  # type: ignore[no-untyped-def]
        loads.append(ref.model_id)
        return load(ref, *arguments, **options)

    monkeypatch.setattr("services.serving.residents.load", noting)
    answers = await asyncio.gather(*(stage.ask(gone) for _ in range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert loads == [gone]


async def test_a_request_for_a_model_goes_before_deployments(stage: Stage) -> None:
    await deployed(stage, "a", "b")
    [gone] = {"a", "b"} - stage.catalog.models.keys()
    stage.store.gate.clear()
    for name in "cdefgh":
        stage.want(name, "1.0.0", 1)
    asked = asyncio.create_task(stage.ask(gone))
    await until(lambda: gone in stage.catalog.loading, 10, "it is asked for")
    stage.store.gate.set()
    assert (await asked).status_code == 200
    assert len(stage.pool.converged.keys() & set("cdefgh")) <= 2


async def test_a_pinned_model_stays_whatever_the_count(stage: Stage) -> None:
    await deployed(stage, "a", "b", "c", pinned="a")
    assert [(await stage.ask(name)).status_code for name in "abcbcb"] == [200] * 6
    assert "a" in stage.catalog.models
    assert len(stage.catalog.models) == 2


async def test_a_pinned_model_goes_when_the_bytes_leave_no_other_choice(stage: Stage) -> None:
    stage.configure(max_models_in_memory=10)
    await deployed(stage, "a", "b", "c", pinned="a")
    for served in stage.pool.versions():
        served.memory_bytes = 600_000
    stage.catalog.models["c"].used_at = max(d.used_at for d in stage.catalog.models.values()) + 1
    stage.configure(max_models_in_memory=10, max_model_bytes=1_300_000)
    assert stage.catalog.models.keys() == {"a", "c"}
    stage.configure(max_models_in_memory=10, max_model_bytes=1 << 20)
    assert stage.catalog.models.keys() == {"c"}
    assert (await stage.ask("a")).status_code == 200


async def test_a_preloaded_model_never_goes(stage: Stage) -> None:
    stage.configure(max_models_in_memory=1, preload_models=["a"])
    await deployed(stage, "a", "b", "c")
    assert [(await stage.ask(name)).status_code for name in "bcbc"] == [200] * 4
    stage.configure(max_models_in_memory=1, max_model_bytes=1 << 20, preload_models=["a"])
    assert "a" in stage.catalog.models


async def test_a_version_shared_by_several_routes_counts_once(stage: Stage) -> None:
    stage.configure(max_models_in_memory=10)
    route = stage.publish("a", "1.0.0")
    shared = [route.model_copy(update={"weight": 50.0}), route.model_copy(update={"weight": 50.0, "name": "canary"})]
    stage.deploy("a", 1, *shared, shadow=route.model_copy(update={"name": "shadow"}))
    await until(lambda: "a" in stage.catalog.models, 10)
    [served] = stage.pool.versions()
    served.memory_bytes = 700_000
    await deployed(stage, "b")
    next(v for v in stage.pool.versions() if v.model_id == "b").memory_bytes = 300_000
    stage.configure(max_models_in_memory=10, max_model_bytes=1 << 20)
    assert stage.catalog.models.keys() == {"a", "b"}


async def test_a_fallback_is_not_freed_before_the_one_that_may_need_it(stage: Stage) -> None:
    first, second = stage.publish("a", "1.0.0"), stage.publish("a", "2.0.0")
    stage.deploy("a", 1, second, fallback=first.model_copy(update={"name": "fallback", "weight": 0.0}))
    await until(lambda: "a" in stage.catalog.models, 10)
    versions = stage.catalog.models["a"].versions
    with versions["2.0.0"].held():
        stage.pool.want("a", None)
        await until(lambda: stage.pool.versions() == [], 10)
        await deployed(stage, "b")
        [later] = stage.pool.versions()
        stage.pool.want("b", None)
        await until(lambda: later.closed, 10, "what left later is freed")
        assert not versions["1.0.0"].closed
    await until(lambda: versions["1.0.0"].closed, 10)
