"""Versions that go bad are noticed, told of and loaded anew; a check is no prediction."""

import asyncio
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from schemas.serving_options import Circuit, InputContract, ServingOptions
from services.serving.pool_metrics import VersionFacts
from services.serving.runtime import Array, RuntimeFailed
from services.serving.served import ServedVersion
from tests.unit.serving.stage import Stage, staged
from tests.waiting import until

INTERVAL = {"health_check_interval": 0.02}


class Faulty:
    """Stands before a runtime and fails, or hangs, as long as it is told to."""

    def __init__(self, served: ServedVersion) -> None:
        self._runtime: Any = served._runtime
        self.max_rows = self._runtime.max_rows
        self.executor = None
        self.provider = "a faulty one"
        self.outside_bytes = 0
        self.failing = False
        self.gate = threading.Event()
        self.gate.set()
        self.threads: set[int] = set()
        served._runtime = served.batcher._runtime = self

    def run(self, feed: Mapping[str, Array], rows: int) -> list[Array]:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(20)
        if self.failing:
            raise RuntimeFailed("the model raised: out of luck")
        outputs: list[Array] = self._runtime.run(feed, rows)
        return outputs

    def close(self) -> None:
        self._runtime.close()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """A pool with the model `m`, not checked yet."""
    async with staged(tmp_path, serving_check_seconds=0.2) as made:
        made.configure(health_check_interval=0)
        made.pool.start()
        made.want("m", "1.0.0", 1)
        await until(lambda: made.answering("m") == ["1.0.0"], 20)
        yield made


def state(stage: Stage) -> tuple[str, str]:
    [line] = stage.pool.report()
    return line.state, line.detail


def facts(stage: Stage) -> VersionFacts:
    [version] = stage.pool.facts().versions
    return version


async def test_a_check_is_no_prediction(stage: Stage) -> None:
    [served] = stage.pool.versions()
    faulty = Faulty(served)
    stage.configure(**INTERVAL)
    await until(lambda: stage.pool.facts().checks > 3, 10)
    assert threading.get_ident() not in faulty.threads
    measures = served.measures
    assert (measures.requests, measures.rows, measures.batches, measures.error_count) == (0, 0, 0, 0)
    assert served._log.next_sequence == 0
    assert (facts(stage).healthy, stage.pool.facts().failed_checks) == (True, 0)


async def test_a_version_that_keeps_failing_is_told_of_and_loaded_anew(stage: Stage, tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    stage.pool.on_change = lambda: told.append(state(stage))
    [served] = stage.pool.versions()
    faulty = Faulty(served)
    faulty.failing = True
    stage.store.gate.clear()
    for folder in (tmp_path / "data" / "serving-models").iterdir():
        folder.rename(tmp_path / folder.name)  # so that loading asks the store, which waits
    stage.configure(**INTERVAL)
    await until(lambda: state(stage)[0] == "failed", 10)
    assert state(stage)[1] == "failed 3 self-checks in a row: the model raised: out of luck"
    assert not facts(stage).healthy
    assert stage.answering("m") == ["1.0.0"]
    stage.store.gate.set()
    await until(lambda: state(stage)[0] == "ready", 10)
    assert [name for name, _ in told] == ["failed", "ready"]
    assert facts(stage).healthy
    [renewed] = stage.pool.versions()
    assert renewed is not served
    assert stage.catalog.models["m"].versions["1.0.0"] is renewed
    assert (await stage.ask("m")).status_code == 200
    await until(lambda: served.closed, 10)


async def test_one_that_is_loaded_anew_keeps_the_options_of_its_model(stage: Stage) -> None:
    options = ServingOptions(batch_rows=7, inputs=InputContract(unexpected="flag"), circuit=Circuit(failures=3))
    wanted = stage.pool.wanted("m")
    assert wanted is not None
    stage.pool.want("m", wanted.model_copy(update={"revision": 2, "options": options}))
    await until(lambda: stage.pool.converged == {"m": 2}, 20)
    [served] = stage.pool.versions()
    Faulty(served).failing = True
    stage.configure(**INTERVAL)
    await until(lambda: stage.pool.versions()[0] is not served, 10)
    [renewed] = stage.pool.versions()
    assert renewed.reader.clauses.unexpected == "flag"
    assert renewed.batcher.contract.clauses.unexpected == "flag"
    assert renewed.batcher.limits.batch_rows == 7
    assert renewed.breaker is not None
    assert renewed.breaker.rule == Circuit(failures=3)


async def test_a_version_that_can_not_be_loaded_anew_recovers_by_itself(stage: Stage, tmp_path: Path) -> None:
    [served] = stage.pool.versions()
    faulty = Faulty(served)
    faulty.failing = True
    for folder in ("data/serving-models", "store"):
        (tmp_path / folder).rename(tmp_path / "gone")
        (tmp_path / "gone").rename(tmp_path / f"gone-{folder.replace('/', '-')}")
    stage.configure(**INTERVAL)
    await until(lambda: stage.pool.facts().failed_loads > 1, 10)
    assert (state(stage)[0], stage.pool.versions()) == ("failed", [served])
    faulty.failing = False
    await until(lambda: state(stage)[0] == "ready", 10)
    assert (await stage.ask("m")).status_code == 200


async def test_a_run_that_hangs_is_given_up(stage: Stage) -> None:
    [served] = stage.pool.versions()
    faulty = Faulty(served)
    faulty.gate.clear()
    stage.configure(**INTERVAL)
    await until(lambda: served.batcher.busy, 10)
    waiting = asyncio.create_task(stage.ask("m"))
    answer = await waiting
    assert (answer.status_code, "loaded anew" in answer.json()["detail"]) == (503, True)
    await until(lambda: state(stage)[0] == "ready", 10)
    assert (await stage.ask("m")).status_code == 200
    faulty.gate.set()
    await until(lambda: served.closed, 10)


async def test_checks_go_between_batches_under_load(stage: Stage) -> None:
    stage.configure(health_check_interval=0.001)

    async def caller() -> None:
        for _ in range(50):
            assert (await stage.ask("m")).status_code == 200

    before = stage.pool.facts().checks
    await asyncio.gather(*(caller() for _ in range(4)))
    assert stage.pool.facts().checks > before
    assert stage.pool.versions()[0].measures.requests == 200


async def test_zero_turns_the_checks_off(stage: Stage) -> None:
    stage.configure(**INTERVAL)
    await until(lambda: stage.pool.facts().checks > 0, 10)
    stage.configure(health_check_interval=0)
    checks = stage.pool.facts().checks
    for _ in range(5):
        assert (await stage.ask("m")).status_code == 200
    assert stage.pool.facts().checks <= checks + 1
