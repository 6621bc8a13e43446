"""Collects garbage: what uploads and trainings that died half-way left in the store, and what retention gives up.

One pass, by one process at a time (a lease):

0. **Retention.** What a model's policy gives up is condemned (`services.registry.keeping.retention`).
1. **Manifests.** Every folder `models/<model>/<upload or job>` that has a manifest gets its rows in `blob_holders`, so
   that the bytes of a job whose success is not known here yet are held too. A folder that no version and no waiting
   registration names is condemned: after `grace` when it has no manifest or is no job's, else after `job_grace`.
2. **Removal.** What was condemned a grace ago and is still named by nobody is claimed, looked at once more (what was
   used or stored again has become young), and removed.
3. **Bytes.** Blobs that nothing holds and that are older than `grace` are condemned, and those that are due removed.
4. **Writes** that began long ago and never ended are ended (`services.registry.keeping.writes`).

Listings are read a page at a time: memory does not grow with the store. No pass is made while the broker is away: what
waits there may name what looks forgotten. A process that dies in a pass leaves claims behind that another takes over
after `CLAIM_SECONDS`; its own removals stop before that.

What `grace` is for: whoever stores bytes has that long to name them. It must exceed the longest upload and twice
`artifacts.TOUCH_AFTER`, the age from which bytes that are used once more are made young.
"""

import asyncio
import itertools
import os
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import TypeVar

import sqlalchemy as sa
from prometheus_client import Counter, Gauge

from schemas.manifest import MANIFEST_NAME, Manifest
from services.kernel import lease
from services.kernel.artifacts import BLOBS, MAX_MANIFEST_BYTES, blob_key, discard_version, read_manifest
from services.kernel.errors import Conflict, IntegrityFailed, NotFound, TooLarge, TrimtabError, Unavailable
from services.kernel.failpoints import failpoint
from services.kernel.storage import ArtifactStore, StoredObject
from services.kernel.telemetry import get_logger
from services.kernel.uow import Work
from services.registry.keeping import garbage, retention
from services.registry.keeping.report import Dropped, Graces, Report
from services.registry.keeping.units import Unit, unit_at, units
from services.registry.keeping.writes import end_writes

log = get_logger(__name__)

T = TypeVar("T")

LEASE = "garbage"
LEASE_SECONDS = 120.0
CLAIM_SECONDS = 300.0
"""After this long a claim counts as that of a dead process. No removal begins when half of it is over, and the store's
own time limits end the last one before the whole is."""
PAGE = 1_000
BATCH = 100
"""Claims of one transaction."""
_SHA256_DIGITS = 64

OBJECTS = Counter("trimtab_registry_collected_total", "Blobs and unfinished versions that were collected", ["kind"])
BYTES = Counter("trimtab_registry_collected_bytes_total", "Bytes that were given back to the artifact store")
DROPPED = Counter("trimtab_registry_dropped_versions_total", "Archived versions whose bytes retention gave up")
CONDEMNED = Gauge("trimtab_registry_condemned_bytes", "Bytes that no version names and that will be removed")
FAILED = Counter("trimtab_registry_collection_failures_total", "Passes of the collection that were cut short")


class Collector:
    """The task. `run` passes every `interval_seconds`, `collect` once; `waits_for` says why not now, or None."""

    def __init__(
        self,
        work: Work,
        store: ArtifactStore,
        graces: Graces,
        interval_seconds: float,
        waits_for: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        self._db = work.db
        self._work = work
        self._store = store
        self._graces = graces
        self._interval_seconds = interval_seconds
        self._waits_for = waits_for
        self._holder = f"{os.getpid()}-{uuid.uuid4().hex}"
        self._busy = asyncio.Lock()
        self._of_jobs: dict[str, bool] = {}

    async def run(self) -> None:
        """For ever: wait, then collect. The first pass is an interval after the start."""
        while True:
            await asyncio.sleep(self._interval_seconds)
            try:
                report = await self.collect()
            except Conflict:  # another process does it
                continue
            except TrimtabError as error:
                FAILED.inc()
                log.warning("collection_waits", error=error.detail)
                continue
            if report.condemned or report.removed:
                log.info(
                    "garbage_collected",
                    condemned=report.condemned,
                    removed=report.removed,
                    removed_bytes=report.removed_bytes,
                )

    async def collect(self, *, dry_run: bool = False) -> Report:
        """One pass. Raises `Conflict` (another pass is on its way) and `Unavailable` (the store, the database, or the
        broker is away)."""
        waits_for = await self._waits_for() if self._waits_for is not None else None
        if waits_for is not None:
            raise Unavailable(f"nothing is collected now: {waits_for}; what waits there may name what looks forgotten")
        if self._busy.locked():
            raise Conflict("garbage is being collected right now: try again when that is done")
        started = time.monotonic()
        report = Report(dry_run)
        async with self._busy:
            await self._hold_lease()
            try:
                await self._drop_old(report)
                await self._see_folders(report)
                if not dry_run:
                    await self._remove_due(report)  # folders hold bytes until they are gone
                await self._see_blobs(report)
                await self._remove_due(report)
                if not dry_run:
                    report.uploads_ended = await asyncio.to_thread(end_writes, self._store, self._graces)
            finally:
                await self._db.write(lambda connection: lease.release(connection, LEASE, self._holder))
        report.waiting, report.waiting_bytes = await self._db.read(garbage.waiting)
        CONDEMNED.set(report.waiting_bytes)
        report.seconds = round(time.monotonic() - started, 3)
        return report

    async def _hold_lease(self) -> None:
        epoch = await self._db.write(
            lambda connection: lease.acquire(connection, LEASE, self._holder, LEASE_SECONDS),
        )
        if epoch is None:
            raise Conflict("another process collects garbage right now: try again when that is done")

    # retention ------------------------------------------------------------------------------------------------------

    async def _drop_old(self, report: Report) -> None:
        after = ""
        while models := await self._db.read(partial(retention.models_with_archived, after=after, limit=BATCH)):
            await self._hold_lease()
            after = models[-1]
            for model_id in models:
                rows = await self._db.read(partial(retention.due, model_id=model_id, now=time.time()))
                for row in rows:
                    if not report.dry_run and not await self._drop(row):
                        continue
                    report.dropped.append(Dropped(row.model_id, row.version, row.size_bytes))

    async def _drop(self, row: retention.Row) -> bool:
        dropped = await self._work.run(partial(retention.drop, model_id=row.model_id, version=row.version))
        if dropped is None:
            return False
        failpoint("retention-before-removal")
        DROPPED.inc()
        log.info("version_bytes_dropped", model_id=row.model_id, version=row.version, size_bytes=row.size_bytes)
        return True

    # seeing ---------------------------------------------------------------------------------------------------------

    async def _see_folders(self, report: Report) -> None:
        async for page in _pages(units(self._store), PAGE // 4):
            await self._hold_lease()
            report.folders += len(page)
            await self._hold_manifests([manifest for unit in page for manifest in unit.manifests])
            prefixes = [prefix for unit in page for prefix in unit.prefixes]
            used = await self._db.read(partial(garbage.named, prefixes=prefixes))
            forgotten = {}
            for unit in page:
                if used.isdisjoint(unit.prefixes) and await self._is_old(unit):
                    forgotten[unit.prefix] = unit.size
            await self._condemn(forgotten, report)

    async def _hold_manifests(self, manifests: list[str]) -> None:
        """Rows in `blob_holders` for manifests that have none yet."""
        known = await self._db.read(lambda connection: garbage.known(connection, manifests))
        for prefix in manifests:
            if prefix in known:
                continue
            manifest = await asyncio.to_thread(self._manifest, prefix)
            if manifest is None:
                continue
            digests = {file.sha256 for file in manifest.files}
            try:
                await self._db.write(partial(garbage.hold, artifact=prefix, digests=digests))
            except garbage.BeingCollected as error:  # a removal of a process that died: the next pass ends it first
                log.warning("manifest_waits", artifact=prefix, error=error.detail)

    async def _is_old(self, unit: Unit) -> bool:
        age = time.time() - unit.newest
        if age <= self._graces.seconds:
            return False
        if not unit.manifests or age > self._graces.job_seconds:
            return True
        for prefix in unit.manifests:
            if prefix not in self._of_jobs:
                if len(self._of_jobs) >= 100 * PAGE:
                    self._of_jobs.clear()
                manifest = await asyncio.to_thread(self._manifest, prefix)
                self._of_jobs[prefix] = manifest is not None and manifest.lineage.job_id is not None
        return not any(self._of_jobs[prefix] for prefix in unit.manifests)

    def _manifest(self, prefix: str) -> Manifest | None:
        try:
            return read_manifest(self._store.get_bytes(f"{prefix}/{MANIFEST_NAME}", max_bytes=MAX_MANIFEST_BYTES))
        except NotFound:
            return None
        except (IntegrityFailed, TooLarge) as error:
            log.warning("manifest_unreadable", artifact=prefix, error=error.detail)
            return None

    async def _see_blobs(self, report: Report) -> None:
        oldest_spared = time.time() - self._graces.seconds
        async for page in _pages(self._store.list(BLOBS), PAGE):
            await self._hold_lease()
            report.blobs += len(page)
            old = {_digest_of(item): item.size for item in page if item.modified.timestamp() < oldest_spared}
            old.pop(None, None)
            digests = [digest for digest in old if digest is not None]
            used = await self._db.read(partial(garbage.held, digests=digests))
            await self._condemn({blob_key(digest): old[digest] for digest in digests if digest not in used}, report)

    async def _condemn(self, sizes: dict[str, int], report: Report) -> None:
        if not sizes:
            return
        if report.dry_run:
            report.condemned += len(sizes)
            report.condemned_bytes += sum(sizes.values())
            report.name(sizes)
            return
        now = time.time()
        added = await self._db.write(lambda connection: garbage.condemn(connection, sizes, now))
        report.condemned += len(added)
        report.condemned_bytes += sum(sizes[key] for key in added)

    # removing -------------------------------------------------------------------------------------------------------

    async def _remove_due(self, report: Report) -> None:
        after = ""
        condemned_before = time.time() - self._graces.seconds
        while True:
            await self._hold_lease()
            claimed_before = time.time() - CLAIM_SECONDS
            rows = await self._db.read(
                partial(
                    garbage.due,
                    condemned_before=condemned_before,
                    claimed_before=claimed_before,
                    after=after,
                    limit=BATCH,
                )
            )
            if not rows:
                return
            after = rows[-1].key
            sizes = {row.key: row.size_bytes for row in rows}
            if report.dry_run:
                report.removed += len(rows)
                report.removed_bytes += sum(sizes.values())
                report.name(sizes)
                continue
            await self._remove(sizes, claimed_before, report)

    async def _remove(self, sizes: dict[str, int], claimed_before: float, report: Report) -> None:
        folders = [key for key in sizes if not key.startswith(f"{BLOBS}/")]
        inside = {key: await asyncio.to_thread(unit_at, self._store, key) for key in folders}
        now, deadline = time.time(), time.monotonic() + CLAIM_SECONDS / 2
        claimed = await self._db.write(
            lambda connection: garbage.claim(
                connection, list(sizes), _used(connection, sizes, inside), claimed_before, now
            )
        )
        report.spared += len(sizes) - len(claimed)
        failpoint("collector-claimed")
        for key in claimed:
            if time.monotonic() > deadline:
                raise Unavailable("removing garbage takes too long: the store is slow; the next pass goes on")
            removed = await asyncio.to_thread(self._take, key, now)
            await self._db.write(partial(_done, key=key, unit=inside.get(key), removed=removed))
            if not removed:
                report.spared += 1
                continue
            report.removed += 1
            report.removed_bytes += sizes[key]
            report.name([key])
            OBJECTS.labels("version" if key in inside else "blob").inc()
            BYTES.inc(sizes[key])

    def _take(self, key: str, claimed_at: float) -> bool:
        """Remove what was claimed, unless it has become young since: what was listed before the claim says nothing of
        a manifest that was stored again. The look and the removal follow each other at once."""
        oldest_spared = claimed_at - self._graces.seconds
        if key.startswith(f"{BLOBS}/"):
            try:
                if self._store.stat(key).modified.timestamp() >= oldest_spared:
                    return False
            except NotFound:
                return True
            self._store.delete(key)
            return True
        unit = unit_at(self._store, key)
        if unit is not None:
            if unit.newest >= oldest_spared:
                return False
            for prefix in unit.manifests:
                discard_version(self._store, prefix)
            discard_version(self._store, unit.prefix)
        return True


def _used(connection: sa.Connection, sizes: dict[str, int], inside: dict[str, Unit | None]) -> set[str]:
    """The keys that somebody names after all."""
    digests = [key.rsplit("/", 1)[-1] for key in sizes if key not in inside]
    used = {blob_key(digest) for digest in garbage.held(connection, digests)}
    prefixes = {prefix: key for key, unit in inside.items() if unit for prefix in unit.prefixes}
    return used | {prefixes[prefix] for prefix in garbage.named(connection, list(prefixes))}


def _done(connection: sa.Connection, key: str, unit: Unit | None, removed: bool) -> None:
    garbage.spare(connection, [key])
    if removed and unit is not None:
        garbage.let_go(connection, unit.prefixes)


def _digest_of(item: StoredObject) -> str | None:
    """The digest that a blob's key names, or None: not one of ours."""
    digest = item.key.rsplit("/", 1)[-1]
    return digest if len(digest) == _SHA256_DIGITS and item.key == blob_key(digest) else None


async def _pages(items: Iterator[T], size: int) -> AsyncIterator[list[T]]:
    """`size` at a time, read in a thread."""
    while page := await asyncio.to_thread(lambda: list(itertools.islice(items, size))):
        yield page
