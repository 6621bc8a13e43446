"""Smaller graphs on request: made once in a capped child, measured, kept as blobs.

What was measured is remembered by (model file, baseline sample, kind, `QUANTIZER_REVISION`), whoever asks and whatever
loss they accept, so the same request twice quantizes once; those that ask meanwhile wait for the same child. A graph
that nobody deploys is garbage like any blob that nothing holds (`services.registry.keeping`); asked for once more, it
is made once more, byte by byte the same.
"""

import asyncio
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sqlalchemy as sa
from prometheus_client import Counter

from schemas.features import Signature
from schemas.manifest import BASELINE_SAMPLE_NAME, MODEL_NAME, Manifest, ManifestFile
from schemas.serving_options import QuantizationReport, Quantized
from services.kernel.artifacts import blob_key, fetch_file, file_sha256, keep_blob
from services.kernel.db import Database, insert_into
from services.kernel.errors import Conflict, NotFound, Unavailable
from services.kernel.leash import leashed
from services.kernel.storage import ArtifactStore
from services.registry.arrivals.room import Room
from services.registry.keeping import garbage
from services.registry.quantization import child
from services.registry.tables import quantizations
from services.registry.untrusted.children import bare_environment

Kind = Literal["int8", "fp16"]

QUANTIZER_REVISION = 1
"""Raise it whenever `shrink.py` makes another graph, or `measure.py` measures something else."""
DEFAULT_MAX_LOSS = 0.01

RUNS = Counter("trimtab_registry_quantizations_total", "Children that made and measured a smaller graph", ["outcome"])


class NotQuantized(Conflict):
    """The version is not served by a smaller graph: there is none, it can't be measured, or it loses too much."""

    code = "not-quantized"


@dataclass(frozen=True)
class QuantizationLimits:
    """What the child may use: memory beside eight times the graph's own size, and time."""

    memory_bytes: int = 4 << 30
    seconds: int = 240


@dataclass(frozen=True)
class Subject:
    """One version, as far as quantizing it goes."""

    name: str
    artifact: str
    signature: Signature
    model: ManifestFile
    sample: ManifestFile


def subject_of(version: str, artifact: str, manifest: Manifest) -> Subject:
    """The version with its graph and its sample. Raises `NotQuantized`: it has no graph, or how it gets a sample."""
    files = {file.path: file for file in manifest.files}
    if MODEL_NAME not in files:
        raise NotQuantized(
            f"version {version} has no {MODEL_NAME}: only an ONNX graph is made smaller, and no TensorFlow SavedModel"
        )
    if BASELINE_SAMPLE_NAME not in files:
        raise NotQuantized(
            f"version {version} has no baseline sample ({BASELINE_SAMPLE_NAME}) on which the loss could be measured: "
            "train it here, register the fitted model with `Client.register_model(model, sample=...)`, or put a "
            f"{BASELINE_SAMPLE_NAME} with the features as columns (and the truth as `label`) beside {MODEL_NAME} and "
            "register that folder"
        )
    return Subject(version, artifact, manifest.signature, files[MODEL_NAME], files[BASELINE_SAMPLE_NAME])


class Quantizer:
    """Makes smaller graphs, one at a time. Lives on the event loop; a part of the service."""

    def __init__(
        self, db: Database, store: ArtifactStore, staging_dir: Path, room: Room, limits: QuantizationLimits
    ) -> None:
        self._db = db
        self._store = store
        self._staging_dir = staging_dir
        self._room = room
        self._limits = limits
        self._one = asyncio.Semaphore(1)
        self._running: dict[tuple[str, str, str], asyncio.Task[Quantized]] = {}
        self._children: set[subprocess.Popen[bytes]] = set()
        self._stopping = False

    async def start(self) -> None:
        """Nothing is begun before somebody asks."""

    async def stop(self) -> None:
        """End the child at work; who waits for it gets `Unavailable`."""
        self._stopping = True
        for process in list(self._children):
            process.kill()

    async def quantize(self, subject: Subject, kind: Kind, max_loss: float) -> Quantized:
        """The smaller graph of a version; it lies in the store. Raises `NotQuantized`, with the whole `report` when it
        loses more than `max_loss`, and what the store raises."""
        found = await self._shared(subject, kind)
        report = found.report.model_copy(update={"bound": max_loss})
        if not report.loss <= max_loss:
            raise NotQuantized(
                f"as {kind}, version {subject.name} loses {report.loss:.4g} ({report.metric}) on {report.rows} rows of "
                f"its baseline sample, more than {max_loss:g}: {_remedy(kind)}, accept more with `quantize_max_loss`, "
                "or deploy it as it is",
                report=report.model_dump(mode="json"),
            )
        return found.model_copy(update={"report": report})

    async def _shared(self, subject: Subject, kind: Kind) -> Quantized:
        key = (subject.model.sha256, subject.sample.sha256, kind)
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = asyncio.create_task(self._find_or_make(subject, kind))
            task.add_done_callback(lambda done: self._done(key, done))
        return await asyncio.shield(task)  # one who gives up leaves it to the others

    def _done(self, key: tuple[str, str, str], task: "asyncio.Task[Quantized]") -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # it may be that nobody waits for it any more

    async def _find_or_make(self, subject: Subject, kind: Kind) -> Quantized:
        known = await self._db.read(lambda connection: find(connection, subject, kind))
        if known is not None:
            await garbage.rescue_first(self._db, [known.sha256])
            if await asyncio.to_thread(_is_whole, self._store, known.sha256, known.size):
                return known
        async with self._one:
            with self._room.share() as share:
                share.take(2 * subject.model.size + subject.sample.size)
                made = await self._make(subject, kind)
        await self._db.write(lambda connection: remember(connection, subject, made))
        return made

    async def _make(self, subject: Subject, kind: Kind) -> Quantized:
        self._staging_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._staging_dir, prefix="quantize-") as name:
            folder = Path(name)
            try:
                answer = await asyncio.to_thread(self._in_child, subject, kind, folder)
            except NotQuantized:
                RUNS.labels("refused").inc()
                raise
            RUNS.labels("measured").inc()
            smaller = folder / child.SMALLER
            sha256 = await asyncio.to_thread(file_sha256, smaller)
            await garbage.rescue_first(self._db, [sha256])
            await asyncio.to_thread(self._store.put_file, blob_key(sha256), smaller)
            report = QuantizationReport(kind=kind, bound=DEFAULT_MAX_LOSS, **answer)
            return Quantized(kind=kind, sha256=sha256, size=smaller.stat().st_size, report=report)

    def _in_child(self, subject: Subject, kind: Kind, folder: Path) -> dict[str, Any]:
        """Blocking: fetch, run the child, and read what it says."""
        fetch_file(self._store, subject.artifact, subject.model, folder / MODEL_NAME)
        fetch_file(self._store, subject.artifact, subject.sample, folder / BASELINE_SAMPLE_NAME)
        (folder / child.SIGNATURE).write_text(subject.signature.model_dump_json())
        memory_bytes, seconds = self._limits.memory_bytes + 8 * subject.model.size, self._limits.seconds
        assert child.__file__ is not None
        process = subprocess.Popen(
            leashed([sys.executable, "-I", child.__file__]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=bare_environment() | {"ARROW_DEFAULT_MEMORY_POOL": "system"},
        )
        self._children.add(process)
        job = json.dumps([str(folder.absolute()), kind, memory_bytes, seconds]) + "\n"
        try:
            answered, _ = process.communicate(job.encode(), timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise NotQuantized(
                f"version {subject.name} was not quantized and measured within {seconds} s "
                "(TRIMTAB_REGISTRY_QUANTIZATION_SECONDS)"
            ) from error
        finally:
            self._children.discard(process)
            with process:
                process.kill()
        if self._stopping:
            raise Unavailable("the registry is stopping: try again")
        if process.returncode != 0:
            raise NotQuantized(
                f"version {subject.name} could not be quantized within {memory_bytes >> 20} MiB and {seconds} s "
                f"(TRIMTAB_REGISTRY_QUANTIZATION_MEMORY_BYTES, _SECONDS; its process ended with {process.returncode})"
            )
        answer: dict[str, Any] = json.loads(answered)
        if "refused" in answer:
            raise NotQuantized(f"version {subject.name} cannot be served as {kind}: {answer['refused']}")
        return answer


def hold(connection: sa.Connection, model_id: str, version: str, graph: Quantized) -> None:
    """The version is deployed by this graph, in the transaction that says so. Raises `BeingCollected`."""
    garbage.hold(connection, garbage.quantized_holder(model_id, version), [graph.sha256])


def is_held(connection: sa.Connection, model_id: str, version: str, graph: Quantized) -> bool:
    """Whether the graph's bytes are kept for the version."""
    return garbage.quantized_holder(model_id, version) in garbage.holders(connection, graph.sha256)


def find(connection: sa.Connection, subject: Subject, kind: Kind) -> Quantized | None:
    """What was made and measured before, or None; whether its bytes are still there is another question."""
    row = connection.execute(sa.select(quantizations).where(*_is(subject, kind))).one_or_none()
    if row is None:
        return None
    report = QuantizationReport.model_validate_json(row.report)
    return Quantized(kind=kind, sha256=row.graph_sha256, size=row.size_bytes, report=report)


def remember(connection: sa.Connection, subject: Subject, made: Quantized) -> None:
    """Keep what was measured; what stands there already was measured on the same bytes."""
    values = {
        "model_sha256": subject.model.sha256,
        "sample_sha256": subject.sample.sha256,
        "kind": made.kind,
        "quantizer": QUANTIZER_REVISION,
        "graph_sha256": made.sha256,
        "size_bytes": made.size,
        "report": made.report.model_dump_json(),
        "at": time.time(),
    }
    connection.execute(quantizations.delete().where(*_is(subject, made.kind)))
    connection.execute(insert_into(connection, quantizations).values(**values).on_conflict_do_nothing())


def _is(subject: Subject, kind: str) -> list[sa.ColumnElement[bool]]:
    columns = quantizations.c
    return [
        columns.model_sha256 == subject.model.sha256,
        columns.sample_sha256 == subject.sample.sha256,
        columns.kind == kind,
        columns.quantizer == QUANTIZER_REVISION,
    ]


def _is_whole(store: ArtifactStore, sha256: str, size: int) -> bool:
    """Whether the store has these very bytes; they become young. Blocking, O(bytes)."""
    if not keep_blob(store, sha256, size):
        return False
    digest = hashlib.sha256()
    try:
        with store.open(blob_key(sha256)) as source:
            while block := source.read(1 << 20):
                digest.update(block)
    except NotFound:
        return False
    return digest.hexdigest() == sha256


def _remedy(kind: Kind) -> str:
    return "try fp16" if kind == "int8" else "leave it in 32 bits"
