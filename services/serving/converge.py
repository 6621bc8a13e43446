"""Makes what is wanted of each model true: loads its versions, then swaps its routes in one turn of the event loop.

The old routes answer until every version of the new ones is warm. A version that fails to load leaves the last good
routes in force and is reported with its reason; it is tried again with growing pauses. A model that has never answered
is served by those of its routes that did load.
"""

import asyncio
from collections.abc import Callable

from schemas.events import DeploymentWanted
from services.kernel.errors import TrimtabError
from services.kernel.telemetry import get_logger
from services.serving.catalog import Catalog
from services.serving.model import refs_of, servable
from services.serving.nursery import Nursery
from services.serving.residents import Residents
from services.serving.turns import Urgency

log = get_logger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0


class Converger:
    """One task a model, while there is something to do. Lives on the event loop.

    `on_installed` is called with the model's id after its routes were swapped, `on_settled` when a task is done, and
    `on_change` whenever a replica's report would say something new. `preloaded` tells which models are loaded before
    others, `paused` which are not to be loaded at all.
    """

    def __init__(self, catalog: Catalog, residents: Residents, nursery: Nursery) -> None:
        self.wanted: dict[str, DeploymentWanted] = {}
        self.converged: dict[str, int] = {}
        self.preloaded: Callable[[str], bool] = _none
        self.paused: Callable[[str], bool] = _none
        self.on_installed: Callable[[str], None] = _nobody_listens
        self.on_settled: Callable[[], None] = _nobody_cares
        self.on_change: Callable[[], None] = _nobody_cares
        self._catalog = catalog
        self._residents = residents
        self._nursery = nursery
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._changed: dict[str, asyncio.Event] = {}

    def updating(self, model_id: str) -> bool:
        """Whether the model is on its way to what is wanted."""
        task = self._tasks.get(model_id)
        return task is not None and not task.done()

    def wake(self, model_id: str) -> None:
        """Look again at what is wanted of the model, now."""
        if model_id in self._changed:
            self._changed[model_id].set()

    def begin(self, model_id: str, urgency: Urgency | None = None) -> "asyncio.Task[None]":
        """Work towards what is wanted of the model; the task that does."""
        if model_id not in self._catalog.models:
            self._catalog.loading.setdefault(model_id, "it is being loaded")
        if self.updating(model_id):
            self.wake(model_id)
            return self._tasks[model_id]
        if urgency is None:
            urgency = Urgency.PRELOAD if self.preloaded(model_id) else Urgency.DEPLOYMENT
        task = self._nursery.spawn(self._converge(model_id, urgency), f"converge-{model_id}")
        self._tasks[model_id] = task
        task.add_done_callback(lambda _: self.on_settled())
        return task

    async def _converge(self, model_id: str, urgency: Urgency) -> None:
        changed = self._changed[model_id] = asyncio.Event()
        pause = _FIRST_PAUSE_SECONDS
        while (wanted := self.wanted.get(model_id)) is not None and not self.paused(model_id):
            changed.clear()
            if await self._converged(wanted, urgency):
                return
            if not self._still_wanted(wanted):
                continue
            self.on_change()
            try:
                async with asyncio.timeout(pause):  # `wait_for` of Python 3.11 may swallow a cancellation
                    await changed.wait()
                pause = _FIRST_PAUSE_SECONDS
            except TimeoutError:
                pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)

    async def _converged(self, wanted: DeploymentWanted, urgency: Urgency) -> bool:
        """One try. False when a version failed, or something else is wanted by now."""
        refs = refs_of(wanted)
        loads = (self._residents.version(ref, urgency) for ref in refs)
        results = await asyncio.gather(*loads, return_exceptions=True)
        if not self._still_wanted(wanted):
            return False
        failed = False
        for result in results:
            if isinstance(result, TrimtabError):
                failed = True
                self._catalog.loading[wanted.model_id] = result.detail
            elif isinstance(result, BaseException):
                raise result
        if not failed:
            self._install(wanted)
            self.converged[wanted.model_id] = wanted.revision
            self.on_change()
            return True
        if wanted.model_id not in self._catalog.models:
            partly = servable(wanted, [ref for ref in refs if self._residents.get(ref) is not None])
            if partly is not None:
                self._install(partly)
        return False

    def _still_wanted(self, wanted: DeploymentWanted) -> bool:
        return self.wanted.get(wanted.model_id) is wanted and not self.paused(wanted.model_id)

    def _install(self, wanted: DeploymentWanted) -> None:
        """Swap the routes of one model, in one turn of the event loop."""
        versions = {ref.version: there for ref in refs_of(wanted) if (there := self._residents.get(ref)) is not None}
        self._catalog.install(wanted, versions)
        log.info(
            "routes_in_force",
            model_id=wanted.model_id,
            revision=wanted.revision,
            routes={route.name: f"{route.version} {route.weight:g}%" for route in wanted.routes},
        )
        self.on_installed(wanted.model_id)


def _none(model_id: str) -> bool:
    return False


def _nobody_listens(model_id: str) -> None:
    """No pool yet."""


def _nobody_cares() -> None:
    """No reporter yet."""
