"""The models of this replica: what is wanted of them, what is in memory, and what is told of both.

`converge.py` makes true what is wanted, `residents.py` loads and frees versions, `room.py` keeps within the limits.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from schemas.events import DeploymentWanted, LoadedVersion
from schemas.serving_options import LogPolicy
from services.kernel.storage import ArtifactStore
from services.serving.catalog import Catalog
from services.serving.config import ServerConfig
from services.serving.converge import Converger
from services.serving.model import VersionRef, VersionState, refs_of, status_of
from services.serving.nursery import Nursery
from services.serving.pool_metrics import PoolFacts, VersionFacts
from services.serving.predlog import LogBudget
from services.serving.redaction import Tokens
from services.serving.residents import Residents
from services.serving.room import UNLOADED_BY_HAND, Room
from services.serving.selfcheck import SelfCheck
from services.serving.served import ServedVersion
from services.serving.settings import ServingSettings
from services.serving.shipper import Shipper


class Pool:
    """Lives on the event loop. `on_change` is called whenever `report` would say something new."""

    def __init__(
        self,
        settings: ServingSettings,
        store: ArtifactStore,
        catalog: Catalog,
        budget: LogBudget,
        shipper: Shipper,
        config: ServerConfig,
    ) -> None:
        self._settings = settings
        self._catalog = catalog
        self._log_policies: dict[str, LogPolicy] = {}
        self._nursery = Nursery("pool")
        self._residents = Residents(settings, store, budget, shipper, self._nursery)
        self._converger = Converger(catalog, self._residents, self._nursery)
        self._room = Room(
            catalog,
            self._residents,
            self._converger,
            self._nursery,
            limit_models=config.max_models_in_memory,
            limit_bytes=settings.serving_max_model_bytes,
            wait_seconds=settings.serving_load_wait_seconds,
        )
        self._checks = SelfCheck(
            self._residents,
            catalog,
            self._nursery,
            failures=settings.serving_check_failures,
            limit_seconds=settings.serving_check_seconds,
        )
        self._residents.on_idle = self._room.tidy_soon
        self._converger.on_installed = self._installed
        self._converger.on_settled = self._room.tidy_soon
        self._converger.paused = lambda model_id: model_id in self._room.off
        self._converger.preloaded = lambda model_id: model_id in self._room.preloaded
        self.bring = catalog.bring = self._room.bring
        self.load_now = self._room.load_now
        self.unload_now = self._room.unload_now
        self.configure(config)

    @property
    def task(self) -> "asyncio.Task[None] | None":
        """Ends with the first unexpected error."""
        return self._nursery.task

    @property
    def on_change(self) -> Callable[[], None]:
        """Who is told that `report` says something new."""
        return self._converger.on_change

    @on_change.setter
    def on_change(self, listener: Callable[[], None]) -> None:
        self._converger.on_change = self._room.on_change = self._checks.on_change = listener

    @property
    def converged(self) -> dict[str, int]:
        """The revision of each model's deployment that is in force here."""
        return self._converger.converged

    @property
    def config(self) -> ServerConfig:
        """The server's configuration document."""
        return self._config

    def configure(self, config: ServerConfig) -> None:
        """Have `config` in force, from now on."""
        self._config = config
        self._residents.warmup = config.warmup_on_load
        self._residents.enable_gpu = config.enable_gpu
        self._room.limit_models = config.max_models_in_memory
        self._room.limit_bytes = config.max_model_bytes or self._settings.serving_max_model_bytes
        self._room.preloaded = frozenset(config.preload_models)
        self._room.make_room()
        self._checks.every(config.health_check_interval)

    def start(self) -> None:
        """Begin to check what is in memory."""
        self._checks.start()

    def want(self, model_id: str, wanted: DeploymentWanted | None) -> None:
        """The newest wanted state of one model; None or no routes: it is not served any more."""
        if wanted is not None:
            self._log_policies[model_id] = wanted.options.log
        else:
            self._log_policies.pop(model_id, None)
        converger = self._converger
        before = converger.wanted.get(model_id)
        if model_id in self._room.off and (wanted is None or before is None or wanted.revision != before.revision):
            self._room.forget(model_id)  # a new revision takes back what was done by hand
            self._catalog.loading.pop(model_id, None)
        if wanted is None or not wanted.routes:
            converger.wanted.pop(model_id, None)
            converger.wake(model_id)
            self._catalog.models.pop(model_id, None)
            self._catalog.loading.pop(model_id, None)
            self._room.forget(model_id)
            converger.converged.pop(model_id, None)
            if wanted is not None:
                converger.converged[model_id] = wanted.revision
            self._room.tidy_soon()
            self.on_change()
            return
        converger.wanted[model_id] = wanted
        self._residents.obey(model_id, wanted.options)
        if self._room.aside(model_id):  # its routes are read when it is asked for
            converger.converged[model_id] = wanted.revision
            self.on_change()
            return
        converger.begin(model_id)

    def wanted(self, model_id: str) -> DeploymentWanted | None:
        """The newest wanted state of a model that is to be served."""
        return self._converger.wanted.get(model_id)

    def log_policy(self, model_id: str) -> LogPolicy:
        """How the model's rows are to be logged, whoever made them; also while nothing of it is served."""
        return self._log_policies.get(model_id, LogPolicy())

    @property
    def tokens(self) -> Tokens:
        """What makes the digests of redacted values."""
        return self._residents.tokens

    def waiting_for(self) -> str | None:
        """The wanted models that do not answer, or None. One that was unloaded for room answers on request."""
        silent = [m for m in self._converger.wanted if m not in self._catalog.models and not self._room.aside(m)]
        if not silent:
            return None
        return "; ".join(f"model {m}: {self._catalog.loading.get(m, 'loading')}" for m in sorted(silent)[:10])

    def aside(self, model_id: str) -> Literal["for room", "by hand"] | None:
        """Why a wanted model is deliberately not in memory; None: it is, or is on its way."""
        if model_id in self._room.cold:
            return "for room"
        return "by hand" if model_id in self._room.off else None

    def report(self) -> tuple[LoadedVersion, ...]:
        """Every wanted version's state."""
        return tuple(self._line(ref, wanted) for wanted in self._converger.wanted.values() for ref in refs_of(wanted))

    def facts(self) -> PoolFacts:
        """What the metrics tell."""
        versions = [
            VersionFacts(
                ref.model_id, ref.version, served.allocated_bytes, served.load_seconds, self._checks.healthy(ref)
            )
            for ref, served in self._residents.items()
        ]
        return PoolFacts(
            versions,
            loads=self._residents.loads,
            failed_loads=self._residents.failed_loads,
            waiting_loads=self._residents.waiting_loads,
            unloaded_for_room=self._room.unloaded_for_room,
            limit_models=self._room.limit_models,
            limit_bytes=self._room.limit_bytes,
            checks=self._checks.checks,
            failed_checks=self._checks.failed_checks,
        )

    def versions(self) -> list[ServedVersion]:
        """Everything in memory."""
        return self._residents.all()

    def make_room(self) -> None:
        """Unload models while there are more, or larger ones, than may be. One that is being updated stays."""
        self._room.make_room()

    async def stop(self) -> None:
        """Stop loading. Versions stay: what was accepted is still answered."""
        await self._residents.close()
        await self._nursery.close()
        self._residents.shut_down()

    def _installed(self, model_id: str) -> None:
        self._room.forget(model_id)
        self._room.tidy()

    def _line(self, ref: VersionRef, wanted: DeploymentWanted) -> LoadedVersion:
        served = self._residents.get(ref)
        state = self._residents.state(ref) or VersionState("loading", wanted.since)
        if wanted.model_id in self._room.cold:
            state = VersionState("ready", state.since, "unloaded to make room; the next request loads it")
        elif wanted.model_id in self._room.off:
            state = VersionState("loading", state.since, UNLOADED_BY_HAND)
        elif served is not None and served.breaker is not None and served.breaker.state != "closed":
            detail = f"its circuit is {served.breaker.state}: it failed too often just now"
            state = VersionState(state.state, state.since, detail)
        if served is None:
            return status_of(ref, state, 0, 0)
        return status_of(ref, state, served.measures.requests, served.measures.error_count, served.memory_bytes)
