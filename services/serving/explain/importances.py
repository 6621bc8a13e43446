"""The importances of this installation's versions: found in the artifact store, else computed, one after another.

A result is written once under its key and found by every replica. Two replicas that are asked at the same time compute
the same bytes but for the seconds it took; the last write stays.
"""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TypeVar

from prometheus_client import Counter, Gauge

from services.kernel.errors import NotFound, TrimtabError
from services.kernel.storage import ArtifactStore
from services.kernel.telemetry import get_logger
from services.serving.explain.explainer import Explainer
from services.serving.explain.importance import Importance, Plan, Sums, read_importance
from services.serving.explain.wire import ImportanceJob, Version
from services.serving.model import VersionRef
from services.serving.nursery import Nursery
from services.serving.settings import ServingSettings

log = get_logger(__name__)

T = TypeVar("T")

COMPUTED = Counter("ml_importances", "Global importances computed here, by how that ended", ["outcome"])
PENDING = Gauge("ml_importances_pending", "Versions whose importance waits to be computed here")

MOST_PENDING = 1_000
"""Versions that may wait; further ones are taken when they are asked for again."""
MOST_KEPT = 1_000
"""Results, and failures, that are kept in memory."""
MAX_BYTES = 16 << 20
PIECE_SECONDS = 0.5
"""How long one piece of a computation should hold the explaining process."""
TRIES = 3
RETRY_SECONDS = 60.0
"""After so long what failed retriably may be tried again."""


@dataclass
class Computing:
    """One version's computation, waiting or under way."""

    ref: VersionRef
    sums: Sums = field(default_factory=Sums)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True)
class Failure:
    """Why a version has no importance; `until` (monotonic seconds) it is not tried again, None: never."""

    error: TrimtabError
    until: float | None


def plan_of(settings: ServingSettings) -> Plan:
    """How importance is computed here."""
    return Plan(
        rows=settings.serving_explain_importance_rows,
        background_rows=settings.serving_explain_importance_background_rows,
    )


class Importances:
    """A part of the service. Lives on the event loop."""

    def __init__(self, explainer: Explainer, store: ArtifactStore, plan: Plan) -> None:
        self.plan = plan
        self._explainer = explainer
        self._store = store
        self._nursery = Nursery("importances")
        self._waiting: OrderedDict[str, Computing] = OrderedDict()
        self._known: OrderedDict[str, Importance] = OrderedDict()
        self._failed: OrderedDict[str, Failure] = OrderedDict()
        self._worker: asyncio.Task[None] | None = None
        PENDING.set_function(lambda: len(self._waiting))

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends with the first unexpected error."""
        return self._nursery.task

    async def start(self) -> None:
        """Nothing is computed before somebody asks."""

    async def stop(self) -> None:
        """Stop computing; what was not finished is begun again when it is asked for."""
        await self._nursery.close()
        for computing in self._waiting.values():
            computing.ended.set()

    async def find(self, ref: VersionRef) -> Importance | None:
        """The importance if it has been computed, by whatever replica. Raises `Unavailable`."""
        digest = ref.manifest_digest
        known = self._known.get(digest)
        if known is None:
            known = await asyncio.to_thread(self._read, digest)
            if known is not None:
                _keep(self._known, digest, known)
        return known

    def failure(self, ref: VersionRef) -> TrimtabError | None:
        """Why the version has none and is not tried now."""
        failed = self._failed.get(ref.manifest_digest)
        if failed is None:
            return None
        if failed.until is not None and time.monotonic() >= failed.until:
            del self._failed[ref.manifest_digest]
            return None
        return failed.error

    def compute(self, ref: VersionRef) -> Computing | None:
        """Have it computed, if it is not already; None when too many wait or it failed and is not tried now."""
        if self.failure(ref) is not None:
            return None
        computing = self._waiting.get(ref.manifest_digest)
        if computing is None:
            if len(self._waiting) >= MOST_PENDING:
                return None
            computing = self._waiting[ref.manifest_digest] = Computing(ref)
        if self._worker is None or self._worker.done():
            self._worker = self._nursery.spawn(self._work(), "importance")
        return computing

    async def _work(self) -> None:
        while self._waiting:
            digest, computing = next(iter(self._waiting.items()))
            try:
                found = await self.find(computing.ref) or await self._computed(computing)
                _keep(self._known, digest, found)
                COMPUTED.labels("done").inc()
            except TrimtabError as error:
                until = time.monotonic() + RETRY_SECONDS if error.retriable else None
                _keep(self._failed, digest, Failure(error, until))
                COMPUTED.labels(error.code).inc()
                log.warning("importance_failed", version=computing.ref.version, error=error.detail)
            finally:
                del self._waiting[digest]
                computing.ended.set()

    async def _computed(self, computing: Computing) -> Importance:
        begun = time.perf_counter()
        sums, rows = computing.sums, 1
        while not sums.done:
            piece_begun = time.perf_counter()
            await self._piece(computing, rows)
            seconds = max(time.perf_counter() - piece_begun, 1e-3)
            rows = max(1, min(2 * rows, int(rows * PIECE_SECONDS / seconds)))
        importance = sums.importance(computing.ref.manifest_digest, self.plan, round(time.perf_counter() - begun, 3))
        key = self.plan.key(computing.ref.manifest_digest)
        await asyncio.to_thread(self._store.put_bytes, key, importance.model_dump_json().encode())
        log.info("importance_computed", version=computing.ref.version, seconds=importance.seconds)
        return importance

    async def _piece(self, computing: Computing, rows: int) -> None:
        """The next rows. A child that ends takes one piece with it, which is asked for again."""
        plan, start = self.plan, computing.sums.rows
        job = ImportanceJob(
            Version("", ""),
            plan.method,
            plan.rows,
            start,
            start + rows,
            plan.samples,
            plan.seed,
            plan.background_rows,
            self._explainer.settings.serving_explain_features,
        )
        for left in reversed(range(TRIES)):
            try:
                computing.sums.add(await self._explainer.attribute(computing.ref, job))
                return
            except TrimtabError as error:
                if not error.retriable or left == 0:
                    raise

    def _read(self, manifest_digest: str) -> Importance | None:
        try:
            data = self._store.get_bytes(self.plan.key(manifest_digest), max_bytes=MAX_BYTES)
        except NotFound:
            return None
        return read_importance(data, manifest_digest, self.plan)


def _keep(kept: OrderedDict[str, T], digest: str, value: T) -> None:
    kept[digest] = value
    if len(kept) > MOST_KEPT:
        kept.popitem(last=False)
