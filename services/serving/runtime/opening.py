"""Which runtime a version gets: ONNX Runtime in this process for a graph, TensorFlow in its own for a SavedModel."""

from dataclasses import dataclass, field
from pathlib import Path

from schemas.manifest import SAVED_MODEL_NAME, Manifest
from services.kernel.errors import NotBuilt
from services.kernel.telemetry import get_logger
from services.serving.model import VersionRef
from services.serving.runtime import Runtime
from services.serving.runtime.onnx import OnnxOptions, OnnxRuntime
from services.serving.runtime.process import ProcessOptions
from services.serving.runtime.providers import gpu_note
from services.serving.runtime.savedmodel import SavedModelRuntime
from services.serving.settings import ServingSettings

log = get_logger(__name__)


@dataclass(frozen=True)
class RuntimeOptions:
    """How versions run, whichever runtime they get."""

    onnx: OnnxOptions = field(default_factory=OnnxOptions)
    process: ProcessOptions = field(default_factory=ProcessOptions)


def runtime_options(settings: ServingSettings, ref: VersionRef, *, enable_gpu: bool) -> RuntimeOptions:
    """The replica's own settings, where the deployment says nothing else of `ref`."""
    threads = ref.intra_op_threads or settings.serving_intra_op_threads
    arena = settings.serving_memory_arena if ref.memory_arena is None else ref.memory_arena
    return RuntimeOptions(
        OnnxOptions(threads, arena, enable_gpu),
        ProcessOptions(
            threads,
            settings.serving_tensorflow_memory_bytes,
            settings.serving_tensorflow_start_seconds,
            settings.serving_tensorflow_run_seconds,
            enable_gpu,
        ),
    )


def open_runtime(directory: Path, manifest: Manifest, options: RuntimeOptions, smaller: Path | None = None) -> Runtime:
    """The runtime of the version in `directory`; `smaller` is the graph that answers in place of its own. Blocking.

    Raises `NotBuilt` for a version with no model that is served, `IntegrityFailed` for one that can't be, and
    `Unavailable` when a process of its own can't be started.
    """
    models = [file.path for file in manifest.files if file.is_model]
    graphs = [path for path in models if path.endswith(".onnx")]
    if len(graphs) == 1:
        runtime: Runtime = OnnxRuntime(smaller or directory / graphs[0], manifest.signature, options.onnx)
    elif not graphs and SAVED_MODEL_NAME in models:
        runtime = SavedModelRuntime(directory, manifest.signature, options.process)
    else:
        raise NotBuilt(
            f"{manifest.model_id} holds {len(graphs)} ONNX graphs and no SavedModel; only a version with exactly one "
            "graph, or a SavedModel, is served"
        )
    note = gpu_note(options.onnx.enable_gpu) if graphs else None
    if graphs and note is not None:
        log.warning("gpu_not_used", model_id=manifest.model_id, reason=note)
    elif not graphs and options.process.gpu and not runtime.provider.endswith("GPU"):
        log.warning("gpu_not_used", model_id=manifest.model_id, reason="TensorFlow sees no GPU")
    return runtime
