"""The versions in memory: each is loaded once for all who want it, and freed when its last user is done.

Loads take turns, those that a request waits for first, in one thread of their own. A version that is let go answers
what it had accepted; only then is its memory given back, in that thread too, since freeing a large model takes time.
"""

import asyncio
from collections.abc import Callable, Collection
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime

from schemas.serving_options import ServingOptions
from services.kernel.errors import TrimtabError
from services.kernel.storage import ArtifactStore
from services.kernel.telemetry import get_logger
from services.serving.batcher import BatchLimits
from services.serving.loader import Loaded, load
from services.serving.model import VersionRef, VersionState, identity_of
from services.serving.nursery import Nursery
from services.serving.predlog import LogBudget, ModelLog, Syncer
from services.serving.redaction import Tokens
from services.serving.runtime.memory import give_back
from services.serving.runtime.opening import runtime_options
from services.serving.served import ServedVersion
from services.serving.settings import ServingSettings
from services.serving.shadow import shadow_executor
from services.serving.shipper import Shipper
from services.serving.turns import Turns, Urgency

log = get_logger(__name__)

_QUIET_SECONDS = 0.05
"""How long versions that were let go must have nothing to do before they are freed: whoever was just failed by one of
them may ask another as its fallback."""


class Residents:
    """What is in memory. Lives on the event loop."""

    def __init__(
        self, settings: ServingSettings, store: ArtifactStore, budget: LogBudget, shipper: Shipper, nursery: Nursery
    ) -> None:
        self.warmup = settings.serving_warmup
        self.enable_gpu = False
        self.on_idle: Callable[[], None] = _nobody_listens
        """Called when there may be something to unload: a version came, or its last holder let go."""
        self.loads = 0
        self.failed_loads = 0
        self._settings = settings
        self._store = store
        self._budget = budget
        self._shipper = shipper
        self._nursery = nursery
        self._syncer = Syncer() if settings.serving_log_fsync else None
        self._turns = Turns()
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="load")
        self._running: Executor = ThreadPoolExecutor(settings.serving_runtime_threads, thread_name_prefix="runtime")
        self._shadow = shadow_executor()
        self._there: dict[VersionRef, ServedVersion] = {}
        self._states: dict[VersionRef, VersionState] = {}
        self._loads: dict[VersionRef, asyncio.Task[ServedVersion]] = {}
        self._logs: dict[str, ModelLog] = {}
        self._options: dict[str, ServingOptions] = {}
        key = settings.serving_redaction_key
        self.tokens = Tokens(key.get_secret_value().encode() if key is not None else None)

    def get(self, ref: VersionRef) -> ServedVersion | None:
        """The version, if it is in memory."""
        return self._there.get(ref)

    def state(self, ref: VersionRef) -> VersionState | None:
        """How it stands to a version that somebody wants; None: nobody has asked for it."""
        return self._states.get(ref)

    def all(self) -> list[ServedVersion]:
        """Everything that answers or may answer."""
        return list(self._there.values())

    def obey(self, model_id: str, options: ServingOptions) -> None:
        """How the model is served from now on: its log at once; the input contract when the routes come
        into force; the rest with the next version that is loaded."""
        self._options[model_id] = options
        if model_id in self._logs:
            self._logs[model_id].obey(options.log)

    @property
    def waiting_loads(self) -> int:
        """Loads that wait for their turn."""
        return self._turns.waiting

    async def version(self, ref: VersionRef, urgency: Urgency) -> ServedVersion:
        """The version, loaded if need be, once for all who ask meanwhile. Raises `TrimtabError`."""
        there = self._there.get(ref)
        if there is not None:
            return there
        task = self._loads.get(ref)
        if task is None:
            task = self._loads[ref] = asyncio.get_running_loop().create_task(self._load(ref, urgency))
            task.add_done_callback(lambda _: self._loaded(ref))
        return await asyncio.shield(task)

    def keep_only(self, needed: Collection[ServedVersion], wanted: Collection[VersionRef]) -> None:
        """Let go of what is neither `needed` nor `wanted`. What a model loses at once is freed together."""
        leaving: dict[str, list[ServedVersion]] = {}
        for ref, served in list(self._there.items()):
            if ref not in wanted and not any(served is other for other in needed):
                del self._there[ref]
                leaving.setdefault(ref.model_id, []).append(served)
        for ref in [ref for ref in self._states if ref not in self._there and ref not in wanted]:
            del self._states[ref]
        for model_id, versions in leaving.items():
            self._nursery.spawn(self._free(versions), f"free-{model_id}")

    async def renewed(self, ref: VersionRef) -> ServedVersion:
        """The version, loaded anew in the place of the one in memory, which answers what it has accepted and is freed.
        It is served by the same options. Raises `TrimtabError`, and then nothing has changed."""
        old = self._there[ref]
        loaded = await self._opened(ref, Urgency.REQUEST)
        served = self._served(ref, loaded)
        served.apply(old.options)
        if self._there.get(ref) is old:
            self._there[ref] = served
        else:  # let go meanwhile
            old = served
        self._nursery.spawn(self._free([old]), f"free-{ref.model_id}")
        return served

    def note(self, ref: VersionRef, state: VersionState) -> None:
        """How it stands to a version in memory from now on."""
        self._states[ref] = state

    def note_ready(self, ref: VersionRef, served: ServedVersion) -> None:
        """The version in memory answers."""
        self.note(ref, VersionState("ready", datetime.now(UTC), f"runs on {served.provider}"))

    def items(self) -> list[tuple[VersionRef, ServedVersion]]:
        """What is in memory, by what it is."""
        return list(self._there.items())

    async def close(self) -> None:
        """Stop loading. Versions stay: what was accepted is still answered."""
        loads = list(self._loads.values())
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)

    def shut_down(self) -> None:
        """Let the threads end."""
        self._loading.shutdown(wait=False, cancel_futures=True)
        self._running.shutdown(wait=False)
        self._shadow.shutdown(wait=False)

    async def _load(self, ref: VersionRef, urgency: Urgency) -> ServedVersion:
        self._states.setdefault(ref, VersionState("loading", datetime.now(UTC)))
        try:
            loaded = await self._opened(ref, urgency)
        except TrimtabError as error:
            self._states[ref] = VersionState("failed", datetime.now(UTC), error.detail)
            raise
        served = self._served(ref, loaded)
        self._there[ref] = served
        self.note_ready(ref, served)
        return served

    async def _opened(self, ref: VersionRef, urgency: Urgency) -> Loaded:
        settings = self._settings
        options = runtime_options(settings, ref, enable_gpu=self.enable_gpu)
        try:
            async with self._turns.turn(urgency):
                loaded = await asyncio.get_running_loop().run_in_executor(
                    self._loading,
                    lambda: load(ref, self._store, settings.cache_dir, options, warmup=self.warmup),
                )
        except TrimtabError as error:
            self.failed_loads += 1
            log.error("version_failed_to_load", model_id=ref.model_id, version=ref.version, error=error.detail)
            raise
        self.loads += 1
        log.info(
            "version_loaded",
            model_id=ref.model_id,
            version=ref.version,
            memory_bytes=loaded.memory_bytes,
            seconds=round(loaded.load_seconds, 3),
        )
        return loaded

    def _loaded(self, ref: VersionRef) -> None:
        self._loads.pop(ref, None)
        self.on_idle()  # nobody may want it any more

    def _served(self, ref: VersionRef, loaded: Loaded) -> ServedVersion:
        settings = self._settings
        served = ServedVersion(
            ref.model_id,
            ref.version,
            loaded.signature,
            loaded.runtime,
            self._log_of(ref.model_id),
            self._running,
            limits=BatchLimits(settings.serving_batch_rows, settings.serving_queue_rows, settings.serving_request_rows),
            clauses=settings.clauses,
            syncer=self._syncer,
            identity=identity_of(ref),
            shadow_executor=self._shadow,
        )
        served.memory_bytes = loaded.memory_bytes
        served.ref = ref
        served.allocated_bytes = loaded.allocated_bytes
        served.load_seconds = loaded.load_seconds
        served.sample = served.layout.from_rows([loaded.sample])
        served.on_idle = lambda: self.on_idle()
        for rows, seconds in loaded.run_seconds:
            served.batcher.learn(rows, seconds)
        return served

    def _log_of(self, model_id: str) -> ModelLog:
        model_log = self._logs.get(model_id)
        if model_log is None:
            settings = self._settings
            model_log = self._logs[model_id] = ModelLog(
                settings.log_dir,
                model_id,
                settings.replica,
                self._budget,
                segment_bytes=settings.serving_log_segment_bytes,
                tokens=self.tokens,
            )
            if model_id in self._options:
                model_log.obey(self._options[model_id].log)
            self._shipper.carry(model_log)
        return model_log

    async def _free(self, versions: list[ServedVersion]) -> None:
        """Give the memory back once everything that was accepted is answered and nobody holds any of them."""
        while True:
            for served in versions:
                await served.drained()
            await asyncio.sleep(_QUIET_SECONDS)
            if all(served.idle for served in versions):
                break
        loop = asyncio.get_running_loop()
        for served in versions:
            served.begin_close()
            await loop.run_in_executor(self._loading, served.close)
            log.info("version_unloaded", model_id=served.model_id, version=served.version)
        await loop.run_in_executor(self._loading, give_back)


def _nobody_listens() -> None:
    """No pool yet."""
