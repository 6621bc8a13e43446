"""The queue and the child behind it: a real process that is stopped, killed, starved and left alone."""

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from services.kernel.artifacts import blob_key, file_sha256
from services.kernel.errors import IntegrityFailed, Overloaded
from services.kernel.storage import open_store
from services.serving.explain.explainer import Explainer
from services.serving.explain.refusals import ExplainerDied, ExplanationTimedOut, NoBaselineSample, OutOfMemory
from services.serving.explain.wire import Explanations
from services.serving.model import SmallerGraph, VersionRef
from services.serving.settings import ServingSettings
from tests.explain_versions import publish
from tests.serving_models import vector_model
from tests.waiting import until

ROW = [1.0, 2.0]


def tuned(settings: ServingSettings, **changes: object) -> Explainer:
    """An explainer with other limits on the same data."""
    changed = settings.model_copy(update={f"serving_explain_{name}": value for name, value in changes.items()})
    return Explainer(changed, open_store(changed))


async def warmed(explainer: Explainer, ref: VersionRef) -> int:
    """Have the child started; its process id."""
    await explainer.explain(ref, [ROW])
    pid = explainer.process.pid
    assert pid is not None
    return pid


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def size_of(path: Path) -> int:
    return path.stat().st_size


def lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_one_child_answers_all_and_starts_with_the_first_question(
    explainer: Explainer, settings: ServingSettings
) -> None:
    ref = publish(settings, "number")
    assert explainer.process.pid is None
    answers = await asyncio.gather(*(explainer.explain(ref, [[float(n), 0.0]]) for n in range(10)))
    assert [answer.rows[0].prediction for answer in answers] == [float(n) for n in range(10)]
    assert explainer.process.starts == 1
    assert explainer.process.memory_bytes > 50 << 20
    assert (await explainer.explain(ref, [ROW])) == (await explainer.explain(ref, [ROW]))


async def test_the_child_steps_back_and_holds_no_secret(
    settings: ServingSettings, monkeypatch: pytest.MonkeyPatch, explainer: Explainer
) -> None:
    monkeypatch.setenv("TRIMTAB_INTERNAL_KEY", "much-secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "much-secret")
    pid = await warmed(explainer, publish(settings, "number"))
    assert b"much-secret" not in environment_of(pid)
    own = os.getpriority(os.PRIO_PROCESS, 0)
    assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, own + settings.serving_explain_niceness)


async def test_a_child_that_dies_is_one_clear_error_and_comes_back(
    explainer: Explainer, settings: ServingSettings
) -> None:
    ref = publish(settings, "number")
    pid = await warmed(explainer, ref)
    os.kill(pid, signal.SIGSTOP)
    asked = asyncio.ensure_future(explainer.explain(ref, [ROW]))
    behind = asyncio.ensure_future(explainer.explain(ref, [ROW]))
    await asyncio.sleep(0)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(ExplainerDied, match=r"status -9.*starts another"):
        await asked
    assert (await behind).rows[0].prediction == 3.0
    assert explainer.process.starts == 2


async def test_a_child_that_died_between_two_questions_is_not_noticed(
    explainer: Explainer, settings: ServingSettings
) -> None:
    ref = publish(settings, "number")
    pid = await warmed(explainer, ref)
    os.kill(pid, signal.SIGKILL)
    await until(lambda: explainer.process.pid is None, what="the end is known")
    assert (await explainer.explain(ref, [ROW])).rows[0].prediction == 3.0


async def test_a_full_queue_refuses_at_once_with_a_time_to_come_back(settings: ServingSettings) -> None:
    explainer = tuned(settings, queue=3)
    ref = publish(settings, "number")
    pid = await warmed(explainer, ref)
    os.kill(pid, signal.SIGSTOP)
    asked = [asyncio.ensure_future(explainer.explain(ref, [ROW])) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await explainer.explain(ref, [ROW])
    assert refused.value.retry_after_seconds > 0
    os.kill(pid, signal.SIGCONT)
    assert [answer.rows[0].prediction for answer in await asyncio.gather(*asked)] == [3.0, 3.0, 3.0]
    await explainer.stop()


async def test_a_late_child_is_ended_and_the_next_answer_is_not_the_old_one(settings: ServingSettings) -> None:
    explainer = tuned(settings)
    ref = publish(settings, "number")
    pid = await warmed(explainer, ref)
    explainer.settings = explainer.settings.model_copy(update={"serving_explain_timeout_seconds": 0.3})
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(ExplanationTimedOut, match=r"0.3 s.*TRIMTAB_SERVING_EXPLAIN_TIMEOUT_SECONDS"):
        await explainer.explain(ref, [ROW])
    assert not lives(pid)
    explainer.settings = explainer.settings.model_copy(update={"serving_explain_timeout_seconds": 100.0})
    assert (await explainer.explain(ref, [[5.0, 5.0]])).rows[0].prediction == 10.0
    await explainer.stop()


async def test_who_hangs_up_leaves_the_queue_and_what_runs_runs_on(
    explainer: Explainer, settings: ServingSettings
) -> None:
    ref = publish(settings, "number")
    pid = await warmed(explainer, ref)
    os.kill(pid, signal.SIGSTOP)
    running, queued = (asyncio.ensure_future(explainer.explain(ref, [ROW])) for _ in range(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for task in (running, queued):
        task.cancel()
    await asyncio.gather(running, queued, return_exceptions=True)
    os.kill(pid, signal.SIGCONT)
    assert (await explainer.explain(ref, [[5.0, 5.0]])).rows[0].prediction == 10.0
    assert explainer.process.pid == pid


async def test_an_idle_child_goes(settings: ServingSettings) -> None:
    explainer = tuned(settings, idle_seconds=0.2)
    pid = await warmed(explainer, publish(settings, "number"))
    await until(lambda: not lives(pid), what="the child has ended")
    assert explainer.process.memory_bytes == 0
    await explainer.stop()


async def test_too_little_memory_ends_one_explanation_and_no_server(settings: ServingSettings) -> None:
    explainer = tuned(settings, memory_bytes=512 << 20, evaluations=10**9)
    ref = publish(settings, "number")
    with pytest.raises(OutOfMemory, match="TRIMTAB_SERVING_EXPLAIN_MEMORY_BYTES"):
        await explainer.explain(ref, [ROW], method="lime", samples=20_000_000)
    assert (await explainer.explain(ref, [ROW])).rows[0].prediction == 3.0
    await explainer.stop()


async def test_more_versions_than_are_held_open_are_opened_again(settings: ServingSettings) -> None:
    explainer = tuned(settings, versions=1)
    number, vector = publish(settings, "number"), publish(settings, "vector")
    before = [await explainer.explain(number, [ROW]), await explainer.explain(vector, [[[1.0, 2.0, 3.0, 4.0]]])]
    after = [await explainer.explain(number, [ROW]), await explainer.explain(vector, [[[1.0, 2.0, 3.0, 4.0]]])]
    assert after == before
    await explainer.stop()


async def test_a_refusal_leaves_the_child_as_it_is(explainer: Explainer, settings: ServingSettings) -> None:
    with pytest.raises(NoBaselineSample):
        await explainer.explain(publish(settings, "number", "1.0.0", sample=False), [ROW])
    assert isinstance(await explainer.explain(publish(settings, "number", "1.0.1"), [ROW]), Explanations)
    assert explainer.process.starts == 1


async def test_the_smaller_graph_that_is_deployed_is_the_one_that_is_explained(
    explainer: Explainer, settings: ServingSettings, tmp_path: Path
) -> None:
    ref = publish(settings, "vector")
    graph = vector_model(tmp_path / "smaller.onnx", scale=0.5)
    sha256 = file_sha256(graph)
    open_store(settings).put_file(blob_key(sha256), graph)
    smaller = replace(ref, graph=SmallerGraph("int8", sha256, size_of(graph)))
    row = [[1.0, 2.0, 3.0, 4.0]]
    own, other = [(await explainer.explain(one, [row])).rows[0] for one in (ref, smaller)]
    assert own.output > other.output
    assert other.additivity_error < 1e-6
    (settings.cache_dir / "blobs" / sha256).write_bytes(b"damaged")
    await explainer.process.end()
    with pytest.raises(IntegrityFailed):
        await explainer.explain(smaller, [row])
    assert (await explainer.explain(smaller, [row])).rows[0] == other  # fetched again


async def test_a_damaged_cache_is_fetched_again(explainer: Explainer, settings: ServingSettings) -> None:
    ref = publish(settings, "number")
    (settings.cache_dir / ref.manifest_digest).mkdir(parents=True)
    (settings.cache_dir / ref.manifest_digest / "manifest.json").write_text("{}")
    assert (await explainer.explain(ref, [ROW])).rows[0].prediction == 3.0


def test_the_serving_process_imports_nothing_of_it() -> None:
    """shap, numba, scikit-learn and pandas are the child's alone."""
    code = (
        "import sys, services.serving.app; "
        "print(sorted({'shap', 'numba', 'sklearn', 'pandas', 'llvmlite'} & {n.partition('.')[0] for n in sys.modules}))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
