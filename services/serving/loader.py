"""From a wanted version to a warm runtime: fetch, verify, open, run a sample. Everything here may block.

Memory is measured, not guessed: the difference of the process's resident set around opening and warming.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from schemas.features import Signature
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import load_version, read_manifest
from services.kernel.errors import IntegrityFailed, NotBuilt
from services.kernel.storage import ArtifactStore
from services.serving.columns import Layout
from services.serving.model import VersionRef, sample_row
from services.serving.outputs import OutputReader
from services.serving.runtime import Runtime, RuntimeFailed
from services.serving.runtime.onnx import OnnxOptions, OnnxRuntime

WARMUP_ROWS = (1, 1, 8, 64)


@dataclass(frozen=True)
class Loaded:
    """A version that is ready to answer. `run_seconds` are (rows, seconds) of the warm-up's last runs."""

    signature: Signature
    runtime: Runtime
    memory_bytes: int
    run_seconds: tuple[tuple[int, float], ...]


def load(ref: VersionRef, store: ArtifactStore, cache_dir: Path, options: OnnxOptions, *, warmup: bool) -> Loaded:
    """Load one version. Raises `NotFound`, `Unavailable`, `IntegrityFailed`, `NotBuilt`, and `RuntimeFailed` when the
    sample fails."""
    directory = load_version(store, ref.artifact, cache_dir, ref.manifest_digest)
    manifest = read_manifest((directory / MANIFEST_NAME).read_bytes())
    if manifest.model_id != ref.model_id:
        raise IntegrityFailed(f"{ref.artifact} is a version of {manifest.model_id!r}, not of {ref.model_id!r}")
    graphs = [file.path for file in manifest.files if file.is_model and file.path.endswith(".onnx")]
    if len(graphs) != 1:
        raise NotBuilt(f"{ref.artifact} holds {len(graphs)} ONNX graphs; only a version with exactly one is served")
    before = _resident_bytes()
    runtime = OnnxRuntime(directory / graphs[0], manifest.signature, options)
    try:
        seconds = warm(runtime, manifest.signature) if warmup else ()
    except RuntimeFailed:
        runtime.close()
        raise
    return Loaded(manifest.signature, runtime, max(_resident_bytes() - before, 0), seconds)


def warm(runtime: Runtime, signature: Signature) -> tuple[tuple[int, float], ...]:
    """Run samples of several sizes and check the outputs. Raises `RuntimeFailed`."""
    layout, outputs, row = Layout(signature), OutputReader(signature), sample_row(signature)
    taken = {}
    for rows in WARMUP_ROWS if runtime.max_rows is None else (1, 1):
        feed = layout.feed(layout.from_rows([row] * rows))
        begun = time.perf_counter()
        outputs.read(runtime.run(feed, rows))
        taken[rows] = time.perf_counter() - begun
    return tuple(taken.items())


def _resident_bytes() -> int:
    with open("/proc/self/statm", "rb") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
