"""The versions that are watched: their signature and baseline from the artifact store, ready to count with."""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import pyarrow as pa
import sqlalchemy as sa
from pydantic import ValidationError

from schemas.baseline import Baseline
from schemas.features import Signature
from schemas.manifest import BASELINE_NAME, Manifest
from schemas.predictions import batch_schema
from services.kernel.artifacts import fetch_manifest, read_file
from services.kernel.db import Database
from services.kernel.errors import IntegrityFailed, NotFound
from services.kernel.storage.store import ArtifactStore
from services.kernel.telemetry import get_logger
from services.monitor import tables
from services.monitor.calibration import Calibration
from services.monitor.layout import CountLayout
from services.monitor.model import DriftDetection, MonitoringDocument

log = get_logger(__name__)

MAX_BASELINE_BYTES = 64 << 20


class UnknownVersion(NotFound):
    """No such version has been registered, as far as the monitor has heard."""

    code = "unknown-version"


@dataclass
class Watched:
    """One version. Without a `layout` (it was registered without a baseline) its rows are counted and kept, not judged.

    `accuracy` is the baseline's, measured on `accuracy_rows` held-out rows (0: not said).
    """

    model_id: str
    version: str
    signature: Signature
    layout: CountLayout | None
    accuracy: float | None
    accuracy_rows: int
    schema: pa.Schema = field(init=False)
    _calibrations: dict[tuple[object, ...], Calibration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.schema = batch_schema(self.signature)

    def calibration(self, plan: DriftDetection) -> Calibration:
        """The nulls and the verdict for this plan; kept, the last one only."""
        assert self.layout is not None
        key = (plan.method, plan.threshold, plan.significance)
        if key not in self._calibrations:
            made = Calibration(
                self.layout, method=plan.method, threshold=plan.threshold, significance=plan.significance
            )
            self._calibrations = {key: made}
        return self._calibrations[key]


class Watchlist:
    """Versions and plans as of now, cached. Methods block: call them in a thread. Thread-safe."""

    def __init__(self, db: Database, store: ArtifactStore, *, cached: int, window_rows: int) -> None:
        self._db = db
        self._store = store
        self._cached = cached
        self._default = MonitoringDocument(drift_detection=DriftDetection(window_size=window_rows))
        self._watched: OrderedDict[tuple[str, str], Watched] = OrderedDict()
        self._plans: dict[str, MonitoringDocument] = {}
        self._lock = threading.Lock()

    def get(self, model_id: str, version: str) -> Watched:
        """The version, its baseline loaded and verified.

        Raises `UnknownVersion` while the monitor has not heard of it, `IntegrityFailed` when what is stored is not what
        was registered, and `Unavailable` when the store does not answer.
        """
        key = model_id, version
        with self._lock:
            if key in self._watched:
                self._watched.move_to_end(key)
                return self._watched[key]
        row = self._db.read_now(
            lambda connection: connection.execute(
                sa.select(tables.versions).where(
                    tables.versions.c.model_id == model_id, tables.versions.c.version == version
                )
            ).one_or_none()
        )
        if row is None:
            raise UnknownVersion(f"version {version} of {model_id} is not registered, as far as the monitor has heard")
        watched = self._load(model_id, version, row.artifact, row.manifest_digest)
        with self._lock:
            self._watched[key] = watched
            while len(self._watched) > self._cached:
                self._watched.popitem(last=False)
        return watched

    def default_version(self, model_id: str) -> str:
        """The version that a prediction without one is counted for: the one with most traffic, else the newest.

        Raises `UnknownVersion`.
        """

        def find(connection: sa.Connection) -> str | None:
            routed = connection.execute(
                sa.select(tables.default_versions.c.version).where(tables.default_versions.c.model_id == model_id)
            ).scalar_one_or_none()
            if routed is not None:
                return str(routed)
            newest = connection.execute(
                sa.select(tables.versions.c.version)
                .where(tables.versions.c.model_id == model_id)
                .order_by(tables.versions.c.registered_at.desc())
                .limit(1)
            ).scalar_one_or_none()
            return None if newest is None else str(newest)

        version = self._db.read_now(find)
        if version is None:
            raise UnknownVersion(f"no version of {model_id} is registered, as far as the monitor has heard")
        return version

    def plan(self, model_id: str) -> MonitoringDocument:
        """The model's monitoring document, or the defaults."""
        with self._lock:
            if model_id in self._plans:
                return self._plans[model_id]
        found = self._db.read_now(lambda connection: newest_document(connection, model_id))
        document = self._default if found is None else MonitoringDocument.model_validate(found[1])
        with self._lock:
            self._plans[model_id] = document
        return document

    def forget_plans(self) -> None:
        """Read the documents again at the next question."""
        with self._lock:
            self._plans.clear()

    def _load(self, model_id: str, version: str, artifact: str, manifest_digest: str) -> Watched:
        manifest, _ = fetch_manifest(self._store, artifact, manifest_digest)
        baseline = self._baseline(manifest, artifact)
        layout = CountLayout(baseline) if baseline is not None and baseline.features else None
        if layout is None:
            log.warning("version_without_baseline", model_id=model_id, version=version)
        accuracy = baseline.metrics.get("accuracy") if baseline is not None else None
        rows = baseline.metrics_rows if baseline is not None and accuracy is not None else 0
        return Watched(model_id, version, manifest.signature, layout, accuracy, rows)

    def _baseline(self, manifest: Manifest, artifact: str) -> Baseline | None:
        entry = next((file for file in manifest.files if file.path == BASELINE_NAME), None)
        if entry is None:
            return None
        data = read_file(self._store, artifact, entry, MAX_BASELINE_BYTES)
        try:
            return Baseline.model_validate_json(data)
        except ValidationError as error:
            raise IntegrityFailed(
                f"{artifact}/{BASELINE_NAME} is not a baseline: {error.error_count()} faults"
            ) from error


def newest_document(connection: sa.Connection, model_id: str) -> tuple[int, dict[str, object]] | None:
    """(revision, document) of the model's monitoring document, or None."""
    row = connection.execute(
        sa.select(tables.monitoring)
        .where(tables.monitoring.c.model_id == model_id)
        .order_by(tables.monitoring.c.revision.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None else (row.revision, json.loads(row.document))
