"""The pool over real versions in a real store: what is wanted is what answers."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.events import DeploymentWanted, ReplicaStatus
from services.kernel.artifacts import load_version
from services.kernel.errors import NotFound, Unavailable
from services.serving.handlers import deployment_wanted
from tests.unit.serving.stage import Stage, staged
from tests.waiting import until


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """An empty pool."""
    async with staged(tmp_path) as made:
        yield made


async def answers(stage: Stage, model_id: str, version: str) -> None:
    await until(lambda: stage.answering(model_id) == [version], 20, f"{model_id} {version}")


def detail_of(stage: Stage, model_id: str) -> str:
    return next(line.detail for line in stage.pool.report() if line.model_id == model_id)


async def test_a_model_that_is_being_updated_keeps_its_place(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    stage.want("other", "1.0.0", 1)
    await answers(stage, "other", "1.0.0")
    stage.store.gate.clear()
    stage.want("m", "2.0.0", 2)
    stage.configure(max_models_in_memory=1)
    assert stage.answering("m") == ["1.0.0"]
    stage.store.gate.set()
    await answers(stage, "m", "2.0.0")
    await until(lambda: stage.answering("other") == [], 20, "room")
    stage.want("m", "3.0.0", 3)
    await answers(stage, "m", "3.0.0")
    assert stage.pool.converged["m"] == 3


async def test_unloading_by_hand_lasts_until_it_is_loaded_by_hand(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    await stage.pool.unload_now("m")
    refused = await stage.ask("m")
    assert (refused.status_code, "by hand" in refused.json()["detail"]) == (503, True)
    assert stage.pool.waiting_for() is None
    assert "by hand" in detail_of(stage, "m")
    await until(lambda: stage.pool.versions() == [], 20, "the memory")
    await stage.pool.load_now("m")
    assert stage.answering("m") == ["1.0.0"]
    assert (await stage.ask("m")).status_code == 200
    await stage.pool.load_now("m")  # it is there already


async def test_a_new_revision_takes_back_an_unloading_by_hand_and_the_same_one_does_not(stage: Stage) -> None:
    route = stage.publish("m", "1.0.0")
    stage.deploy("m", 1, route)
    await answers(stage, "m", "1.0.0")
    await stage.pool.unload_now("m")
    stage.deploy("m", 1, route)  # told again
    assert (await stage.ask("m")).status_code == 503
    stage.deploy("m", 2, route)
    await answers(stage, "m", "1.0.0")


async def test_unloading_by_hand_while_it_is_loaded(stage: Stage) -> None:
    stage.store.gate.clear()
    stage.want("m", "1.0.0", 1)
    await stage.pool.unload_now("m")
    stage.store.gate.set()
    stage.want("other", "1.0.0", 1)
    await answers(stage, "other", "1.0.0")
    assert stage.answering("m") == []
    await until(lambda: [served.model_id for served in stage.pool.versions()] == ["other"], 20, "the other one alone")
    await stage.pool.load_now("m")
    assert stage.answering("m") == ["1.0.0"]


async def test_what_is_not_deployed_is_neither_loaded_nor_unloaded(stage: Stage) -> None:
    with pytest.raises(NotFound):
        await stage.pool.load_now("m")
    with pytest.raises(NotFound):
        await stage.pool.unload_now("m")


async def test_loading_by_hand_says_why_it_failed(stage: Stage) -> None:
    stage.deploy("m", 1, stage.publish("m", "1.0.0", lambda path: path.write_bytes(b"\x08\x09 not a graph")))
    await until(lambda: "not a graph" in (stage.pool.waiting_for() or ""), 20, "the failure")
    with pytest.raises(Unavailable, match="not a graph"):
        await stage.pool.load_now("m")


async def test_a_version_that_is_no_longer_wanted_when_it_has_loaded_is_freed(stage: Stage) -> None:
    stage.store.gate.clear()
    stage.want("m", "1.0.0", 1)
    await asyncio.sleep(0)
    stage.pool.want("m", None)
    stage.store.gate.set()
    stage.want("other", "1.0.0", 1)
    await answers(stage, "other", "1.0.0")
    await until(lambda: [served.model_id for served in stage.pool.versions()] == ["other"], 20, "the other one alone")


async def test_a_version_is_freed_when_its_last_holder_lets_go(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    [served] = stage.pool.versions()
    with served.held():
        stage.pool.want("m", None)
        await until(lambda: stage.pool.versions() == [], 20, "leaving")
        future = served.ask(1, [served.reader.read_value({"x": [1, 0, 0, 0]})], None, "production", 0.0)
        assert (await future).count == 1
        assert not served.closed
    await until(lambda: served.closed, 20, "freeing")


async def test_nothing_is_told_of_what_is_gone(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    before: DeploymentWanted | None = None
    stage.pool.want("m", before)
    assert (stage.pool.report(), stage.pool.converged, stage.pool.waiting_for()) == ((), {}, None)


async def test_what_is_in_memory_is_told_with_its_size(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    [line] = stage.pool.report()
    [served] = stage.pool.versions()
    assert line.memory_bytes == served.memory_bytes
    assert line.memory_bytes is not None
    [facts] = stage.pool.facts().versions
    assert (facts.healthy, facts.load_seconds is not None) == (True, True)
    await stage.pool.unload_now("m")
    [line] = stage.pool.report()
    assert line.memory_bytes is None


async def test_only_a_deployment_or_a_tombstone_of_the_model_changes_what_it_answers_by(stage: Stage) -> None:
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    wanted = stage.pool.wanted("m")
    assert wanted is not None
    status = ReplicaStatus(
        replica="r", incarnation="i", url="http://r", at=wanted.since, converged={}, versions=(), stopped=True
    )
    deployment_wanted("m", status, stage.pool)
    deployment_wanted("m", wanted.model_copy(update={"model_id": "other", "routes": ()}), stage.pool)
    assert stage.answering("m") == ["1.0.0"]
    deployment_wanted("m", None, stage.pool)
    assert stage.answering("m") == []


async def test_a_copy_that_another_process_throws_away_is_fetched_again(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []

    def thrown_away_once(*args: Any) -> Path:
        fetched.append(load_version(*args))
        if len(fetched) == 1:
            shutil.rmtree(fetched[0])
        return fetched[-1]

    monkeypatch.setattr("services.serving.loader.load_version", thrown_away_once)
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    assert (len(fetched), stage.pool.facts().failed_loads) == (2, 1)


async def test_no_sample_is_run_when_nobody_wants_a_warm_up(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a sample was run")

    monkeypatch.setattr("services.serving.loader.warm", refuse)
    stage.configure(warmup_on_load=False)
    stage.want("m", "1.0.0", 1)
    await answers(stage, "m", "1.0.0")
    assert (await stage.ask("m")).status_code == 200
