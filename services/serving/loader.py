"""From a wanted version to a warm runtime: fetch, verify, open, run a sample. Everything here may block."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.features import Signature
from schemas.manifest import BASELINE_SAMPLE_NAME, MANIFEST_NAME
from services.kernel.artifacts import load_blob, load_version, read_manifest
from services.kernel.errors import IntegrityFailed, Unavailable
from services.kernel.storage import ArtifactStore
from services.serving.columns import Layout, Row
from services.serving.footprint import measured
from services.serving.model import VersionRef
from services.serving.outputs import OutputReader
from services.serving.runtime import Runtime, RuntimeFailed
from services.serving.runtime.opening import RuntimeOptions, open_runtime
from services.serving.samples import sample_rows

WARMUP_ROWS = (1, 1, 8, 64)


@dataclass(frozen=True)
class Loaded:
    """A version that is ready to answer.

    `memory_bytes`: what it took of the resident set (see `footprint.py`) and what a process of its own holds.
    `allocated_bytes`: what it took of the allocator. `sample`: a row to check it with. `run_seconds`: (rows, seconds)
    of the warm-up's last runs. `load_seconds`: what all of it took.
    """

    signature: Signature
    runtime: Runtime
    memory_bytes: int
    allocated_bytes: int | None
    sample: Row
    run_seconds: tuple[tuple[int, float], ...]
    load_seconds: float


def load(ref: VersionRef, store: ArtifactStore, cache_dir: Path, options: RuntimeOptions, *, warmup: bool) -> Loaded:
    """Load one version. Raises `NotFound`, `Unavailable`, `IntegrityFailed`, `NotBuilt`, and `RuntimeFailed` when the
    sample fails."""
    begun = time.perf_counter()
    directory = load_version(store, ref.artifact, cache_dir, ref.manifest_digest)
    try:
        manifest = read_manifest((directory / MANIFEST_NAME).read_bytes())
    except OSError as error:  # another process that shares the folder has found it damaged, and fetches it anew
        raise Unavailable(f"{directory} cannot be read: {error.strerror or error}") from error
    if manifest.model_id != ref.model_id:
        raise IntegrityFailed(f"{ref.artifact} is a version of {manifest.model_id!r}, not of {ref.model_id!r}")
    has_sample = any(file.path == BASELINE_SAMPLE_NAME for file in manifest.files)
    rows = sample_rows(manifest.signature, directory / BASELINE_SAMPLE_NAME if has_sample else None, max(WARMUP_ROWS))
    smaller = load_blob(store, ref.graph.sha256, ref.graph.size, cache_dir) if ref.graph is not None else None
    with measured() as footprint:
        runtime = open_runtime(directory, manifest, options, smaller)
        try:
            seconds = warm(runtime, manifest.signature, rows) if warmup else ()
        except (RuntimeFailed, Unavailable):
            runtime.close()
            raise
    memory_bytes = footprint.resident_bytes + runtime.outside_bytes
    load_seconds = time.perf_counter() - begun
    return Loaded(manifest.signature, runtime, memory_bytes, footprint.allocated_bytes, rows[0], seconds, load_seconds)


def warm(runtime: Runtime, signature: Signature, rows: Sequence[Row] | None = None) -> tuple[tuple[int, float], ...]:
    """Run samples of several sizes, of `rows` or of the signature's own, and check the outputs. Raises
    `RuntimeFailed`."""
    rows = rows or sample_rows(signature, None, max(WARMUP_ROWS))
    layout, outputs = Layout(signature), OutputReader(signature)
    taken = {}
    for count in WARMUP_ROWS if runtime.max_rows is None else (1, 1):
        feed = layout.feed(layout.from_rows(rows[:count]))
        begun = time.perf_counter()
        outputs.read(runtime.run(feed, count))
        taken[count] = time.perf_counter() - begun
    return tuple(taken.items())
