"""Makes what is wanted true: loads and warms versions off the event loop, swaps routes at once, unloads what is over.

The old routes answer until every version of the new ones is warm. A version that fails to load leaves the last good
routes in force and is reported with its reason; it is tried again with growing pauses. A model that has never answered
is served by those of its routes that did load.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime

from schemas.events import DeploymentWanted, LoadedVersion
from services.kernel.errors import TrimtabError
from services.kernel.storage import ArtifactStore
from services.kernel.telemetry import get_logger
from services.serving.batcher import BatchLimits
from services.serving.catalog import Catalog, Deployed
from services.serving.config import ServerConfig
from services.serving.loader import Loaded, load
from services.serving.model import Resident, VersionRef, VersionState, evictions, refs_of, servable, status_of
from services.serving.nursery import Nursery
from services.serving.predlog import LogBudget, ModelLog, Syncer
from services.serving.redaction import Tokens
from services.serving.router import RoutePlan
from services.serving.runtime.onnx import OnnxOptions
from services.serving.served import ServedVersion
from services.serving.settings import ServingSettings
from services.serving.shipper import Shipper

log = get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class Pool:
    """The versions of this replica. Lives on the event loop; one load at a time, in a thread of its own.

    `on_change` is called whenever `report` would say something new.
    """

    def __init__(
        self,
        settings: ServingSettings,
        store: ArtifactStore,
        catalog: Catalog,
        budget: LogBudget,
        shipper: Shipper,
        config: ServerConfig,
    ) -> None:
        self.wanted: dict[str, DeploymentWanted] = {}
        self.converged: dict[str, int] = {}
        self.config = config
        self.on_change: Callable[[], None] = _nobody_listens
        self._settings = settings
        self._store = store
        self._catalog = catalog
        self._budget = budget
        self._shipper = shipper
        self._syncer = Syncer() if settings.serving_log_fsync else None
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._running: Executor = ThreadPoolExecutor(settings.serving_runtime_threads, thread_name_prefix="runtime")
        self._resident: dict[VersionRef, ServedVersion] = {}
        self._states: dict[VersionRef, VersionState] = {}
        self._loads: dict[VersionRef, asyncio.Task[ServedVersion]] = {}
        self._nursery = Nursery("pool")
        self._converging: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}
        self._bringing: dict[str, asyncio.Task[None]] = {}
        self._logs: dict[str, ModelLog] = {}
        key = settings.serving_redaction_key
        self._tokens = Tokens(key.get_secret_value().encode() if key is not None else None)
        self._cold: set[str] = set()
        catalog.bring = self.bring

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends with the first unexpected error."""
        return self._nursery.task

    def want(self, model_id: str, wanted: DeploymentWanted | None) -> None:
        """The newest wanted state of one model; None or no routes: it is not served any more."""
        if wanted is None or not wanted.routes:
            self.wanted.pop(model_id, None)
            self._wake(model_id)
            self._catalog.models.pop(model_id, None)
            self._catalog.loading.pop(model_id, None)
            self._cold.discard(model_id)
            self.converged.pop(model_id, None)
            if wanted is not None:
                self.converged[model_id] = wanted.revision
            self._retire_unwanted()
            self.on_change()
            return
        self.wanted[model_id] = wanted
        if model_id in self._logs:
            self._logs[model_id].obey(wanted.options.log)
        if model_id in self._cold:  # its routes are read when it is asked for
            self.converged[model_id] = wanted.revision
            self.on_change()
            return
        self._begin(model_id)

    def waiting_for(self) -> str | None:
        """The wanted models that do not answer, or None. One that was unloaded for room answers on request."""
        silent = [m for m in self.wanted if m not in self._catalog.models and m not in self._cold]
        if not silent:
            return None
        return "; ".join(f"model {m}: {self._catalog.loading.get(m, 'loading')}" for m in sorted(silent)[:10])

    def report(self) -> tuple[LoadedVersion, ...]:
        """Every wanted version's state."""
        lines = []
        for wanted in self.wanted.values():
            for ref in refs_of(wanted):
                served = self._resident.get(ref)
                state = self._states.get(ref) or VersionState("loading", wanted.since)
                if wanted.model_id in self._cold:
                    state = VersionState("ready", state.since, "unloaded to make room; the next request loads it")
                requests, errors = (0, 0) if served is None else (served.measures.requests, served.measures.error_count)
                lines.append(status_of(ref, state, requests, errors))
        return tuple(lines)

    def versions(self) -> list[ServedVersion]:
        """Everything in memory."""
        return list(self._resident.values())

    async def bring(self, model_id: str) -> None:
        """Load a model that was unloaded to make room, once for all who ask meanwhile.

        Raises `NotFound`; `Unavailable` when it fails or takes too long, and for one that has never answered.
        """
        task = self._bringing.get(model_id)
        if task is None:
            if model_id not in self._cold:
                self._catalog.deployed(model_id)
                return
            task = self._nursery.spawn(self._bring(model_id), f"bring-{model_id}")
            self._bringing[model_id] = task
            task.add_done_callback(lambda _: self._bringing.pop(model_id, None))
        await asyncio.wait([task], timeout=self._settings.serving_load_wait_seconds)
        self._catalog.deployed(model_id)

    async def _bring(self, model_id: str) -> None:
        self._cold.discard(model_id)
        converging = self._begin(model_id)
        loads = [self._version(ref) for ref in refs_of(self.wanted[model_id])]
        results = await asyncio.gather(*loads, return_exceptions=True)
        if not any(isinstance(result, BaseException) for result in results):
            await asyncio.wait([converging])

    def make_room(self) -> None:
        """Unload models while there are more, or larger ones, than may be. One that is being updated stays."""
        updating = {model_id for model_id, task in self._converging.items() if not task.done()}
        residents = [
            Resident(
                model_id,
                deployed.used_at,
                sum(version.memory_bytes or 0 for version in deployed.versions.values()),
                model_id not in updating and all(version.batcher.idle for version in deployed.versions.values()),
            )
            for model_id, deployed in self._catalog.models.items()
        ]
        for model_id in evictions(
            residents,
            max_models=self.config.max_models_in_memory,
            max_bytes=self._settings.serving_max_model_bytes,
            pinned=self.config.preload_models,
        ):
            log.info("model_unloaded", model_id=model_id, reason="room for others")
            self._cold.add(model_id)
            del self._catalog.models[model_id]
        self._retire_unwanted()

    async def stop(self) -> None:
        """Stop loading. Versions stay: what was accepted is still answered."""
        loads = list(self._loads.values())
        for load_task in loads:
            load_task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        await self._nursery.close()
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._running.shutdown(wait=False)

    def _begin(self, model_id: str) -> "asyncio.Task[None]":
        if model_id not in self._catalog.models:
            self._catalog.loading.setdefault(model_id, "it is being loaded")
        running = self._converging.get(model_id)
        if running is not None and not running.done():
            self._wake(model_id)
            return running
        task = self._nursery.spawn(self._converge(model_id), f"converge-{model_id}")
        self._converging[model_id] = task
        return task

    def _wake(self, model_id: str) -> None:
        if model_id in self._changed:
            self._changed[model_id].set()

    async def _converge(self, model_id: str) -> None:
        changed = self._changed[model_id] = asyncio.Event()
        pause = _FIRST_PAUSE_SECONDS
        while (wanted := self.wanted.get(model_id)) is not None:
            changed.clear()
            refs = refs_of(wanted)
            results = await asyncio.gather(*(self._version(ref) for ref in refs), return_exceptions=True)
            if self.wanted.get(model_id) is not wanted:
                continue
            failed = False
            for result in results:
                if isinstance(result, TrimtabError):
                    failed = True
                    self._catalog.loading[model_id] = result.detail
                elif isinstance(result, BaseException):
                    raise result
            if not failed:
                self._install(wanted)
                self.converged[model_id] = wanted.revision
                self.on_change()
                return
            if model_id not in self._catalog.models:
                partly = servable(wanted, [ref for ref in refs if ref in self._resident])
                if partly is not None:
                    self._install(partly)
            self.on_change()
            try:
                async with asyncio.timeout(pause):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await changed.wait()
                pause = _FIRST_PAUSE_SECONDS
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _version(self, ref: VersionRef) -> ServedVersion:
        resident = self._resident.get(ref)
        if resident is not None:
            return resident
        task = self._loads.get(ref)
        if task is None:
            task = self._loads[ref] = asyncio.get_running_loop().create_task(self._load(ref))
            task.add_done_callback(lambda _: self._loads.pop(ref, None))
        return await asyncio.shield(task)

    async def _load(self, ref: VersionRef) -> ServedVersion:
        self._states.setdefault(ref, VersionState("loading", datetime.now(UTC)))
        settings = self._settings
        options = OnnxOptions(settings.serving_intra_op_threads, settings.serving_memory_arena)
        try:
            loaded = await asyncio.get_running_loop().run_in_executor(
                self._loading,
                lambda: load(ref, self._store, settings.cache_dir, options, warmup=self.config.warmup_on_load),
            )
        except TrimtabError as error:
            self._states[ref] = VersionState("failed", datetime.now(UTC), error.detail)
            log.error("version_failed_to_load", model_id=ref.model_id, version=ref.version, error=error.detail)
            raise
        served = self._served(ref, loaded)
        self._resident[ref] = served
        self._states[ref] = VersionState("ready", datetime.now(UTC))
        log.info("version_loaded", model_id=ref.model_id, version=ref.version, memory_bytes=loaded.memory_bytes)
        return served

    def _served(self, ref: VersionRef, loaded: Loaded) -> ServedVersion:
        settings = self._settings
        model_log = self._logs.get(ref.model_id)
        if model_log is None:
            model_log = self._logs[ref.model_id] = ModelLog(
                settings.log_dir,
                ref.model_id,
                settings.replica,
                self._budget,
                segment_bytes=settings.serving_log_segment_bytes,
                tokens=self._tokens,
            )
            if ref.model_id in self.wanted:
                model_log.obey(self.wanted[ref.model_id].options.log)
            self._shipper.carry(model_log)
        served = ServedVersion(
            ref.model_id,
            ref.version,
            loaded.signature,
            loaded.runtime,
            model_log,
            self._running,
            limits=BatchLimits(settings.serving_batch_rows, settings.serving_queue_rows, settings.serving_request_rows),
            policy=settings.serving_input_policy,
            syncer=self._syncer,
        )
        served.memory_bytes = loaded.memory_bytes
        for rows, seconds in loaded.run_seconds:
            served.batcher.learn(rows, seconds)
        return served

    def _install(self, wanted: DeploymentWanted) -> None:
        """Swap the routes of one model, in one turn of the event loop."""
        versions = {ref.version: self._resident[ref] for ref in refs_of(wanted)}
        self._catalog.models[wanted.model_id] = Deployed(RoutePlan(wanted), versions)
        self._catalog.loading.pop(wanted.model_id, None)
        self._cold.discard(wanted.model_id)
        log.info(
            "routes_in_force",
            model_id=wanted.model_id,
            revision=wanted.revision,
            routes={route.name: f"{route.version} {route.weight:g}%" for route in wanted.routes},
        )
        self._retire_unwanted()
        self.make_room()

    def _retire_unwanted(self) -> None:
        needed = {id(version) for deployed in self._catalog.models.values() for version in deployed.versions.values()}
        wanted = {ref for w in self.wanted.values() if w.model_id not in self._cold for ref in refs_of(w)}
        for ref, served in list(self._resident.items()):
            if id(served) not in needed and ref not in wanted:
                del self._resident[ref]
                self._states.pop(ref, None)
                self._nursery.spawn(self._retire(ref, served), f"retire-{ref.model_id}-{ref.version}")
        for ref in [ref for ref in self._states if ref not in self._resident and ref not in wanted]:
            del self._states[ref]

    async def _retire(self, ref: VersionRef, served: ServedVersion) -> None:
        """Free a version once everything that it accepted is answered."""
        await served.batcher.drained()
        served.close()
        log.info("version_unloaded", model_id=ref.model_id, version=ref.version)


def _nobody_listens() -> None:
    """No reporter yet."""
