"""From a wanted version to a warm runtime: fetch, verify, open, run a sample. Everything here may block.

Memory is measured, not guessed: the difference of the process's resident set around opening and warming, and all that
a process of the model's own holds then.
"""

import time
from dataclasses import dataclass
from pathlib import Path

from schemas.features import Signature
from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import load_version, read_manifest
from services.kernel.errors import IntegrityFailed, Unavailable
from services.kernel.storage import ArtifactStore
from services.serving.columns import Layout
from services.serving.model import VersionRef, sample_row
from services.serving.outputs import OutputReader
from services.serving.runtime import Runtime, RuntimeFailed
from services.serving.runtime.memory import resident_bytes
from services.serving.runtime.opening import RuntimeOptions, open_runtime

WARMUP_ROWS = (1, 1, 8, 64)


@dataclass(frozen=True)
class Loaded:
    """A version that is ready to answer. `run_seconds` are (rows, seconds) of the warm-up's last runs."""

    signature: Signature
    runtime: Runtime
    memory_bytes: int
    run_seconds: tuple[tuple[int, float], ...]


def load(ref: VersionRef, store: ArtifactStore, cache_dir: Path, options: RuntimeOptions, *, warmup: bool) -> Loaded:
    """Load one version. Raises `NotFound`, `Unavailable`, `IntegrityFailed`, `NotBuilt`, and `RuntimeFailed` when the
    sample fails."""
    directory = load_version(store, ref.artifact, cache_dir, ref.manifest_digest)
    manifest = read_manifest((directory / MANIFEST_NAME).read_bytes())
    if manifest.model_id != ref.model_id:
        raise IntegrityFailed(f"{ref.artifact} is a version of {manifest.model_id!r}, not of {ref.model_id!r}")
    before = resident_bytes()
    runtime = open_runtime(directory, manifest, options)
    try:
        seconds = warm(runtime, manifest.signature) if warmup else ()
    except (RuntimeFailed, Unavailable):
        runtime.close()
        raise
    taken = max(resident_bytes() - before, 0) + runtime.outside_bytes
    return Loaded(manifest.signature, runtime, taken, seconds)


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
