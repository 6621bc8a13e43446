"""The processes that open untrusted files, and the one that waits for a file."""

import errno
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest

from services.kernel.errors import InvalidInput, TooLarge
from services.registry.untrusted import children, graph
from services.registry.untrusted.children import Child, Spare
from services.registry.untrusted.inspection import Limits, inspect_graph
from tests.graphs import classifier, save
from tests.waiting import until_sync

MEMORY_BYTES = 2 << 30


def children_of_this() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if any("graph.py" in word for word in child.cmdline())]


def test_a_child_that_was_started_before_looks_into_one_file(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "model.onnx")
    child = Child(graph)
    assert len(child.ask(path, MEMORY_BYTES, 30)["inputs"]) == 2
    with pytest.raises((TooLarge, ValueError)):  # it takes no second one
        child.ask(path, MEMORY_BYTES, 30)


def test_one_that_waited_is_capped_too(tmp_path: Path) -> None:
    path = save(classifier(), tmp_path / "model.onnx")
    spare = Spare(graph)
    spare.expect()
    with pytest.raises((TooLarge, InvalidInput), match=r"could not be opened|more memory"):
        spare.take().ask(path, 32 << 20, 30)


def test_one_spare_waits_however_often_a_file_is_expected(tmp_path: Path) -> None:
    spare = Spare(graph)
    for _ in range(3):
        spare.expect()
    until_sync(lambda: len(children_of_this()) == 1, what="the process")
    (waiting,) = children_of_this()
    taken, another = spare.take(), spare.take()
    assert waiting in children_of_this()
    assert len(children_of_this()) == 2, "who comes second gets a new one"
    assert taken.ask(save(classifier(), tmp_path / "model.onnx"), MEMORY_BYTES, 30)["outputs"]
    assert waiting not in children_of_this()
    another.end()
    assert children_of_this() == []


def test_a_spare_that_was_killed_is_replaced(tmp_path: Path) -> None:
    spare = Spare(graph)
    spare.expect()
    until_sync(lambda: len(children_of_this()) == 1, what="the process")
    (waiting,) = children_of_this()
    waiting.send_signal(signal.SIGKILL)
    until_sync(lambda: waiting.status() == psutil.STATUS_ZOMBIE, what="its end")
    assert spare.take().ask(save(classifier(), tmp_path / "model.onnx"), MEMORY_BYTES, 30)["outputs"]


def test_a_spare_that_nobody_needs_ends() -> None:
    spare = Spare(graph, idle_seconds=0.01)
    spare.expect()
    until_sync(lambda: children_of_this() == [], what="its end")
    Spare(graph).close()


def test_a_closed_spare_leaves_nothing() -> None:
    spare = Spare(graph)
    spare.expect()
    spare.close()
    assert children_of_this() == []
    assert not [one for one in threading.enumerate() if isinstance(one, threading.Timer) and not one.finished.is_set()]


def test_the_child_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("TRIMTAB_INTERNAL_KEY", "secret")
    assert "secret" not in json.dumps(children.bare_environment())


def test_no_more_processes_are_no_reason_to_refuse_what_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise BlockingIOError(errno.EAGAIN, "no more processes")

    spare = Spare(graph)
    with monkeypatch.context() as full:
        full.setattr(subprocess, "Popen", none)
        spare.expect()
    assert children_of_this() == []
    spare.take().end()


def test_no_process_is_left_for_a_file_that_is_gone(tmp_path: Path) -> None:
    started: list[Child] = []

    def start() -> Child:
        started.append(Child(graph))
        return started[-1]

    with pytest.raises(FileNotFoundError):
        inspect_graph(tmp_path / "model.onnx", Limits(), start)
    assert started == []


def test_onnx_runtime_keeps_and_sends_nothing_in_a_child() -> None:
    script = """if True:
        import os, onnxruntime
        files = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        print([os.readlink(file) for file in files if os.path.isfile(file) and "/dev/" not in os.readlink(file)])
    """
    command = [sys.executable, "-I", "-c", script]
    found = subprocess.run(command, env=children.bare_environment(), capture_output=True, check=True, text=True)
    assert found.stdout.strip() == "[]"
