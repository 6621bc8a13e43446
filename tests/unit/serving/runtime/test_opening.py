"""Which runtime a version gets, with which options, and what it runs on."""

import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from schemas.events import DeploymentWanted, Route
from schemas.manifest import Manifest
from schemas.serving_options import ServingOptions
from services.kernel.artifacts import build_manifest, store_version, write_manifest
from services.kernel.errors import NotBuilt
from services.kernel.storage.local import LocalStore
from services.serving.config import ServerConfig
from services.serving.loader import load
from services.serving.model import VersionRef, refs_of
from services.serving.runtime import memory, opening
from services.serving.runtime.onnx import OnnxOptions, OnnxRuntime
from services.serving.runtime.opening import RuntimeOptions, open_runtime, runtime_options
from services.serving.runtime.process import ProcessOptions, _environment
from services.serving.runtime.providers import CPU, CUDA, chosen, gpu_note
from services.serving.runtime.savedmodel import SavedModelRuntime
from services.serving.settings import ServingSettings
from tests.serving_models import VECTOR, vector_model

pytestmark = pytest.mark.timeout(300)  # processes with TensorFlow, which take seconds to start

REF = VersionRef("m", "1.0.0", "models/m", "0" * 64)


def manifest_of(folder: Path, **changes: object) -> Manifest:
    manifest = build_manifest(folder, model_id="m", framework="onnx", signature=VECTOR)
    return manifest.model_copy(update=changes)


def test_the_deployment_goes_before_the_replicas_settings() -> None:
    settings = ServingSettings(serving_intra_op_threads=2, serving_memory_arena=True)
    options = runtime_options(settings, REF, enable_gpu=False)
    assert options.onnx == OnnxOptions(2, True, enable_gpu=False)
    assert (options.process.threads, options.process.gpu) == (2, False)
    asked = VersionRef(**{**vars(REF), "intra_op_threads": 4, "memory_arena": False})
    options = runtime_options(settings, asked, enable_gpu=True)
    assert options.onnx == OnnxOptions(4, False, enable_gpu=True)
    assert (options.process.threads, options.process.gpu) == (4, True)


def test_other_threads_are_another_version_in_memory() -> None:
    route = Route(name="r", version="1.0.0", weight=100, artifact="models/m", manifest_digest="0" * 64)
    wanted = DeploymentWanted(model_id="m", revision=1, routes=(route,), fallback=route, since=datetime.now(UTC))
    threads = wanted.model_copy(update={"options": ServingOptions(intra_op_threads=4, memory_arena=True)})
    assert refs_of(wanted) == [REF]
    assert refs_of(threads) == [VersionRef("m", "1.0.0", "models/m", "0" * 64, 4, True)]


def test_a_version_without_a_model_is_named(tmp_path: Path) -> None:
    vector_model(tmp_path / "model.onnx")
    manifest = manifest_of(tmp_path)
    files = tuple(file.model_copy(update={"is_model": False}) for file in manifest.files)
    with pytest.raises(NotBuilt, match="0 ONNX graphs and no SavedModel"):
        open_runtime(tmp_path, manifest.model_copy(update={"files": files}), RuntimeOptions())


def test_a_gpu_that_is_not_there_is_told_and_fails_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert CUDA not in onnxruntime.get_available_providers(), "this test is for machines without"
    vector_model(tmp_path / "model.onnx")
    runtime = open_runtime(tmp_path, manifest_of(tmp_path), RuntimeOptions(OnnxOptions(enable_gpu=True)))
    assert isinstance(runtime, OnnxRuntime)
    assert runtime.provider == CPU
    assert [record.message for record in caplog.records] == ["gpu_not_used"]
    config = ServerConfig(enable_gpu=True)
    assert config.not_built() == []
    (note,) = config.notes()
    assert note.startswith("enableGPU: this ONNX Runtime has no CUDA provider")
    assert ServerConfig().notes() == []


def test_a_gpu_that_is_there_is_preferred() -> None:
    assert chosen(True, [CUDA, CPU]) == [CUDA, CPU]
    assert chosen(False, [CUDA, CPU]) == [CPU]
    assert chosen(True, [CPU]) == [CPU]
    assert gpu_note(True, [CUDA, CPU]) is None
    assert "onnxruntime-gpu" in (gpu_note(True, [CPU]) or "")


def test_a_savedmodels_process_sees_the_gpu_only_when_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    monkeypatch.setenv("TRIMTAB_INTERNAL_KEY", "secret")
    assert _environment(gpu=False)["CUDA_VISIBLE_DEVICES"] == "-1"
    assert _environment(gpu=True)["CUDA_VISIBLE_DEVICES"] == "1"
    assert "secret" not in str(_environment(gpu=True))


def test_a_savedmodel_without_a_gpu_says_so(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    manifest = manifest_of_savedmodel(saved / "trouble")
    runtime = open_runtime(saved / "trouble", manifest, RuntimeOptions(process=ProcessOptions(gpu=True)))
    try:
        assert runtime.provider == "TensorFlow CPU"
        assert [record.message for record in caplog.records] == ["gpu_not_used"]
    finally:
        runtime.close()


def test_a_savedmodel_is_loaded_like_any_version(saved: Path, tmp_path: Path) -> None:
    folder = tmp_path / "version"
    shutil.copytree(saved / "trouble", folder)
    write_manifest(folder, manifest_of_savedmodel(folder))
    store = LocalStore(tmp_path / "store")
    ref = VersionRef("m", "1.0.0", "models/m", store_version(store, folder, "models/m"))
    before = set(tmp_path.rglob("*"))
    loaded = load(ref, store, tmp_path / "cache", RuntimeOptions(), warmup=True)
    try:
        assert isinstance(loaded.runtime, SavedModelRuntime)
        assert loaded.memory_bytes > 300 << 20
        assert [rows for rows, _ in loaded.run_seconds] == [1, 8, 64]
        assert loaded.runtime.run({"x": np.ones((2, 4), np.float32)}, 2)[0].shape == (2, 3)
        assert set(tmp_path.rglob("*")) - before == set((tmp_path / "cache").rglob("*")) | {tmp_path / "cache"}
    finally:
        loaded.runtime.close()


def manifest_of_savedmodel(folder: Path) -> Manifest:
    names = tuple(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return build_manifest(folder, model_id="m", framework="tensorflow", signature=VECTOR, model_files=names)


def test_freed_memory_can_be_given_back() -> None:
    assert memory.give_back() in (True, False)
    assert memory.resident_bytes() > 1 << 20


def test_onnx_runtime_keeps_and_sends_nothing_in_a_bare_server(tmp_path: Path) -> None:
    script = """if True:
        import os, runpy, sys
        try:
            runpy.run_module("services.serving", run_name="__main__")
        except SystemExit as end:
            assert end.code, "it should not have found its settings"
        assert "onnxruntime" in sys.modules
        files = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        print([os.readlink(file) for file in files if os.path.isfile(file) and "onnx" in os.readlink(file)])
    """
    known = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(opening.__file__).parents[3]), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**known, "TRIMTAB_SERVING_PORT": "nowhere"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert list(tmp_path.rglob("*.db")) == []
