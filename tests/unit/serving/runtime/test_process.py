"""A SavedModel's process that is killed, hangs, or takes too much: only its own requests notice."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from services.kernel.errors import IntegrityFailed, Unavailable
from services.serving.runtime import Array, RuntimeFailed, savedmodel
from services.serving.runtime.onnx import OnnxRuntime
from services.serving.runtime.process import ProcessOptions
from services.serving.runtime.savedmodel import SavedModelRuntime
from tests.serving_models import VECTOR, vector_model
from tests.unit.serving.conftest import Plane
from tests.waiting import until, until_sync

pytestmark = pytest.mark.timeout(300)  # processes with TensorFlow, which take seconds to start

PATIENT = 60.0
OPTIONS = ProcessOptions(memory_bytes=4 << 30, run_seconds=2.0)
Opener = Callable[..., SavedModelRuntime]


def rows_of(value: float, rows: int = 1) -> dict[str, Array]:
    return {"x": np.full((rows, 4), value, dtype=np.float32)}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start again after a short pause."""
    monkeypatch.setattr(savedmodel, "FIRST_PAUSE_SECONDS", 0.05)


@pytest.fixture
def opened(saved: Path) -> Iterator[Opener]:
    """Opens the SavedModel `trouble`."""
    made: list[SavedModelRuntime] = []

    def opener(options: ProcessOptions = OPTIONS) -> SavedModelRuntime:
        made.append(SavedModelRuntime(saved / "trouble", VECTOR, options))
        return made[-1]

    yield opener
    for runtime in made:
        runtime.close()
        assert runtime.closed()


def answers(runtime: SavedModelRuntime) -> bool:
    try:
        return runtime.run(rows_of(1), 1)[0].shape == (1, 3)
    except Unavailable:
        return False


def another(runtime: SavedModelRuntime, pid: int | None) -> None:
    until_sync(lambda: runtime.pid not in (None, pid), PATIENT, "the next process")


def test_tensorflow_is_never_in_this_process_and_close_ends_the_child(saved: Path) -> None:
    script = f"""if True:
        import sys
        from pathlib import Path
        import numpy as np
        from services.serving.runtime.savedmodel import SavedModelRuntime
        from tests.serving_models import VECTOR
        runtime = SavedModelRuntime(Path({str(saved / "trouble")!r}), VECTOR)
        runtime.run({{"x": np.ones((1, 4), np.float32)}}, 1)
        print(runtime.outside_bytes, runtime.pid, "tensorflow" in sys.modules)
        runtime.close()
        print(runtime.closed(), runtime.outside_bytes, runtime.pid)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    outside, pid, imported, closed, left, nobody = done.stdout.split()
    assert int(outside) > 300 << 20
    assert not psutil.pid_exists(int(pid))
    assert (imported, closed, left, nobody) == ("False", "True", "0", "None")


def test_a_process_dies_with_its_server(saved: Path) -> None:
    script = f"""if True:
        import sys, time
        from pathlib import Path
        from services.serving.runtime.savedmodel import SavedModelRuntime
        from tests.serving_models import VECTOR
        print(SavedModelRuntime(Path({str(saved / "trouble")!r}), VECTOR).pid, flush=True)
        sys.stdin.read()
    """
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert psutil.pid_exists(pid)
        server.kill()
    until_sync(lambda: not psutil.pid_exists(pid), 10, "its end")


def test_a_killed_process_is_started_again(opened: Opener) -> None:
    runtime = opened()
    before = runtime.run(rows_of(2, 3), 3)[0].tolist()
    pid = runtime.pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(Unavailable, match=r"SIGKILL|started again"):
        runtime.run(rows_of(2), 1)
    another(runtime, pid)
    assert runtime.run(rows_of(2, 3), 3)[0].tolist() == before
    assert runtime.restarts == 1


def test_a_model_that_never_ends_and_one_that_wants_too_much(opened: Opener) -> None:
    runtime = opened()
    pid = runtime.pid
    with pytest.raises(Unavailable, match="did not answer within 2 s and was ended"):
        runtime.run(rows_of(13), 1)
    with pytest.raises(Unavailable, match=r"SIGKILL|started again"):
        runtime.run(rows_of(1), 1)
    another(runtime, pid)
    pid = runtime.pid
    with pytest.raises((RuntimeFailed, Unavailable)):  # 64 GiB: TensorFlow says so, or the process ends
        runtime.run(rows_of(17), 1)
    until_sync(lambda: answers(runtime), PATIENT, "a process that answers")


def test_the_pause_grows(opened: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(savedmodel, "LONGEST_PAUSE_SECONDS", 0.075)
    pauses: list[float] = []
    runtime = opened()
    wait = runtime._closing.wait

    def noting(seconds: float) -> bool:
        pauses.append(seconds)
        return wait(seconds)

    monkeypatch.setattr(runtime._closing, "wait", noting)
    for _ in range(2):
        pid = runtime.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        another(runtime, pid)
    assert pauses == [0.05, 0.075]


def test_what_is_no_savedmodel_is_refused_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(IntegrityFailed, match="TensorFlow cannot load it"):
        SavedModelRuntime(tmp_path, VECTOR)
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01nothing")
    threads = threading.active_count()
    with pytest.raises(IntegrityFailed, match="TensorFlow cannot load it"):
        SavedModelRuntime(tmp_path, VECTOR)
    until_sync(lambda: threading.active_count() <= threads, 10, "its threads to end")


def test_a_process_that_gets_too_little_memory_or_time_is_told(saved: Path) -> None:
    with pytest.raises(Unavailable, match=r"ended with status|was ended by"):
        SavedModelRuntime(saved / "trouble", VECTOR, ProcessOptions(memory_bytes=150 << 20))
    with pytest.raises(Unavailable, match=r"was not loaded within 0\.2 s"):
        SavedModelRuntime(saved / "trouble", VECTOR, ProcessOptions(start_seconds=0.2))


async def test_killed_under_load_it_harms_no_other_model(plane: Plane, tmp_path: Path, opened: Opener) -> None:
    runtime = opened()
    plane.deploy("tf", {"1.0.0": (VECTOR, runtime)})
    plane.deploy("onnx", {"1.0.0": (VECTOR, OnnxRuntime(vector_model(tmp_path / "m.onnx"), VECTOR))})
    counts: dict[str, dict[int, int]] = {"tf": {}, "onnx": {}}
    over = asyncio.Event()

    async def load(model_id: str) -> None:
        while not over.is_set():
            body = {"model_id": model_id, "input": {"x": [1, 2, 3, 4]}}
            answer = await plane.client.post("/mlops/predict", json=body)
            counts[model_id][answer.status_code] = counts[model_id].get(answer.status_code, 0) + 1

    async with asyncio.TaskGroup() as tasks:
        for model_id in ("tf", "tf", "tf", "onnx", "onnx"):
            tasks.create_task(load(model_id))
        await until(lambda: min(sum(of.values()) for of in counts.values()) > 50, PATIENT, "answers")
        pid = runtime.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await until(lambda: counts["tf"].get(503, 0) > 0, PATIENT, "the failure")
        answered = counts["tf"][200]
        await until(lambda: counts["tf"][200] > answered + 50, PATIENT, "answers of the next process")
        over.set()
    assert set(counts["tf"]) == {200, 503}
    assert set(counts["onnx"]) == {200}
