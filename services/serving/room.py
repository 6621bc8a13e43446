"""Room in memory: which models are unloaded for others, and how a request gets one back.

A request for a model that is not in memory waits until it is there and has its place in the queue before the model can
be unloaded again: loading, answering and unloading are one step to it, however many models compete. Models that nobody
uses go first, the least recently used before others. When all are in use, one of them goes all the same, so that the
limits hold: what it has accepted is answered before it is freed, and whoever asks next waits until it is back.
"""

import asyncio
from collections import Counter
from collections.abc import Callable

from services.kernel.errors import NotFound
from services.kernel.telemetry import get_logger
from services.serving.catalog import Catalog
from services.serving.converge import Converger
from services.serving.model import Resident, VersionRef, evictions, refs_of
from services.serving.nursery import Nursery
from services.serving.residents import Residents
from services.serving.turns import Urgency

log = get_logger(__name__)

UNLOADED_BY_HAND = "it was unloaded by hand; load it, or deploy it again"


class Room:
    """Lives on the event loop. The limits are plain fields; `limit_models` counts models, `limit_bytes` what was
    measured of their versions."""

    def __init__(
        self,
        catalog: Catalog,
        residents: Residents,
        converger: Converger,
        nursery: Nursery,
        *,
        limit_models: int,
        limit_bytes: int,
        wait_seconds: float,
    ) -> None:
        self.limit_models = limit_models
        self.limit_bytes = limit_bytes
        self.preloaded: frozenset[str] = frozenset()
        self.on_change: Callable[[], None] = _nobody_listens
        self.unloaded_for_room = 0
        self.cold: set[str] = set()
        """Models that were unloaded to make room; the next request loads them."""
        self.off: set[str] = set()
        """Models that were unloaded by hand; no request loads them."""
        self._catalog = catalog
        self._residents = residents
        self._converger = converger
        self._nursery = nursery
        self._wait_seconds = wait_seconds
        self._awaited: Counter[str] = Counter()
        self._bringing: dict[str, asyncio.Task[None]] = {}
        self._tidying = False

    def aside(self, model_id: str) -> bool:
        """Whether the model is wanted and deliberately not in memory."""
        return model_id in self.cold or model_id in self.off

    async def bring(self, model_id: str) -> None:
        """Return once the model answers, loading it if it had been unloaded to make room, once for all who ask.

        Until the caller gives way to the event loop, the model is not unloaded: it must queue its rows, or hold the
        version, before it awaits anything. Raises `NotFound`; `Unavailable` when the model fails to load, takes too
        long, was unloaded by hand, or has never answered.
        """
        await self._there(model_id, model_id in self.cold)

    async def _there(self, model_id: str, absent: bool) -> None:
        task = self._bringing.get(model_id)
        if task is None and absent:
            task = self._nursery.spawn(self._bring(model_id), f"bring-{model_id}")
            self._bringing[model_id] = task
            task.add_done_callback(lambda _: self._bringing.pop(model_id, None))
        if task is not None:
            self._awaited[model_id] += 1
            try:
                await asyncio.wait([task], timeout=self._wait_seconds)
            finally:
                self._awaited[model_id] -= 1
                self.tidy_soon()
        self._catalog.deployed(model_id)

    async def load_now(self, model_id: str) -> None:
        """Have a deployed model in memory: one that was unloaded, also by hand, or is on its way. Raises as `bring`."""
        if model_id in self.off:
            self.off.discard(model_id)
            self._catalog.loading.pop(model_id, None)
            self.cold.add(model_id)
            self.on_change()
        await self._there(model_id, model_id in self._converger.wanted and model_id not in self._catalog.models)

    async def unload_now(self, model_id: str) -> None:
        """Take a deployed model out of memory until `load_now`, a new revision of its deployment, or a restart.

        What it has accepted is answered; requests from now on are refused. Raises `NotFound`: it is not deployed here.
        """
        if model_id not in self._converger.wanted:
            raise NotFound(f"no model {model_id[:128]!r} is deployed here")
        self.cold.discard(model_id)
        self.off.add(model_id)
        self._catalog.models.pop(model_id, None)
        self._catalog.loading[model_id] = UNLOADED_BY_HAND
        self._converger.wake(model_id)
        log.info("model_unloaded", model_id=model_id, reason="by hand")
        self.tidy()
        self.on_change()

    def forget(self, model_id: str) -> None:
        """The model is not wanted any more, or anew."""
        self.cold.discard(model_id)
        self.off.discard(model_id)

    def make_room(self) -> None:
        """Unload models while there are more, or larger ones, than may be."""
        residents = [
            Resident(
                model_id,
                deployed.used_at,
                sum(version.memory_bytes or 0 for version in deployed.versions.values()),
                idle=all(version.idle for version in deployed.versions.values()),
                held=self._held(model_id),
                pinned=model_id in self._converger.wanted and self._converger.wanted[model_id].options.pinned,
            )
            for model_id, deployed in self._catalog.models.items()
        ]
        gone = evictions(residents, max_models=self.limit_models, max_bytes=self.limit_bytes)
        for model_id in gone:
            log.info("model_unloaded", model_id=model_id, reason="room for others")
            self.unloaded_for_room += 1
            self.cold.add(model_id)
            del self._catalog.models[model_id]
        if gone:
            self._keep_what_is_needed()
            self.on_change()

    def tidy_soon(self) -> None:
        """Make room, and free what nobody needs, in a turn of the event loop of its own."""
        if not self._tidying:
            self._tidying = True
            asyncio.get_running_loop().call_soon(self.tidy)

    def tidy(self) -> None:
        """Make room, and free what nobody needs."""
        self._tidying = False
        self.make_room()
        self._keep_what_is_needed()

    def _held(self, model_id: str) -> bool:
        return model_id in self.preloaded or self._awaited[model_id] > 0 or self._converger.updating(model_id)

    def _keep_what_is_needed(self) -> None:
        needed = [served for deployed in self._catalog.models.values() for served in deployed.versions.values()]
        wanted: set[VersionRef] = set()
        for model_id, state in self._converger.wanted.items():
            if not self.aside(model_id):
                wanted.update(refs_of(state))
        self._residents.keep_only(needed, wanted)

    async def _bring(self, model_id: str) -> None:
        wanted = self._converger.wanted.get(model_id)
        if wanted is None:
            return
        self.cold.discard(model_id)
        converging = self._converger.begin(model_id, Urgency.REQUEST)
        loads = [self._residents.version(ref, Urgency.REQUEST) for ref in refs_of(wanted)]
        results = await asyncio.gather(*loads, return_exceptions=True)
        if not any(isinstance(result, BaseException) for result in results):
            await asyncio.wait([converging])


def _nobody_listens() -> None:
    """No reporter yet."""
