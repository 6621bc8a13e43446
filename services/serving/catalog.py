"""Which models answer, by which routes; asks the right version and falls back when it fails."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from services.kernel.errors import Failed, NotFound, Overloaded, TrimtabError, Unavailable
from services.kernel.telemetry import get_logger
from services.serving.columns import Columns, Row
from services.serving.predlog import LogBudget
from services.serving.router import FALLBACK, PINNED, SHADOW, RoutePlan
from services.serving.served import Answer, ServedVersion

log = get_logger(__name__)


@dataclass
class Deployed:
    """One model: the plan in force and the versions in memory, by number. Every version of the plan is among them."""

    plan: RoutePlan
    versions: dict[str, ServedVersion] = field(default_factory=dict)
    used_at: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Chosen:
    """Where one request goes."""

    deployed: Deployed
    served: ServedVersion
    route: str


class Catalog:
    """The models that this replica answers for. All on the event loop: choosing a version and queueing the request
    happen in one turn, so a version is never taken away between the two."""

    def __init__(self, budget: LogBudget) -> None:
        self.models: dict[str, Deployed] = {}
        self.loading: dict[str, str] = {}
        """Models that are wanted and do not answer yet, with the reason."""
        self.bring: Callable[[str], Awaitable[None]] = _nothing_to_bring
        """Loads a model that is wanted and not in memory. Raises `NotFound` and `Unavailable`."""
        self.known: Callable[[], bool] = lambda: True
        """Whether all that is wanted has been heard of; until then a model that is not there may yet come."""
        self._budget = budget
        self._shadows: set[asyncio.Future[Answer]] = set()
        self.shadows_skipped = 0

    def deployed(self, model_id: str) -> Deployed:
        """The model's deployment. Raises `NotFound`, or `Unavailable` while it is loading or nothing is known yet."""
        found = self.models.get(model_id)
        if found is not None:
            return found
        if model_id in self.loading:
            raise Unavailable(f"the model {model_id!r} does not answer yet: {self.loading[model_id]}")
        if not self.known():
            raise Unavailable("this server has just started and is still reading what is deployed; try again")
        raise NotFound(f"no model {model_id[:128]!r} is deployed here")

    def choose(self, model_id: str, version: str | None, key: str | None) -> Chosen:
        """The version that answers: `version` where given, else by the routes. Raises `NotFound`, `Unavailable`."""
        deployed = self.deployed(model_id)
        deployed.used_at = time.monotonic()
        if version is not None:
            served = deployed.versions.get(version)
            if served is None:
                there = ", ".join(sorted(deployed.versions))
                raise NotFound(f"version {version[:64]!r} of {model_id!r} is not deployed; deployed: {there}")
            return Chosen(deployed, served, PINNED)
        route = deployed.plan.choose(key, random.random())
        return Chosen(deployed, deployed.versions[route.version], route.name)

    def ask(
        self, chosen: Chosen, count: int, rows: Sequence[Row] | None, columns: Columns | None, started: float
    ) -> "asyncio.Future[Answer]":
        """Queue validated rows with the chosen version, and behind it with the shadow.

        Raises `Overloaded` and `TooLarge`.
        """
        self._budget.admit()
        future = chosen.served.ask(count, rows, columns, chosen.route, started)
        shadow = chosen.deployed.plan.shadow
        if shadow is not None and chosen.route != PINNED:
            self._cast_shadow(chosen, shadow.version, count, rows, columns, started)
        return future

    async def fall_back(
        self,
        chosen: Chosen,
        failure: TrimtabError,
        count: int,
        rows: Sequence[Row] | None,
        columns: Columns | None,
        started: float,
    ) -> Answer:
        """Ask the fallback instead. Raises `failure` when there is none or the failure is not one to fall back from."""
        route = chosen.deployed.plan.instead_of(chosen.served.version)
        if route is None or chosen.route == PINNED or not isinstance(failure, Failed | Unavailable):
            raise failure
        served = chosen.deployed.versions.get(route.version)
        if served is None or served.signature.inputs != chosen.served.signature.inputs:
            raise failure
        answer = await served.ask(count, rows, columns, FALLBACK, started)
        answer.fallback = True
        return answer

    def _cast_shadow(
        self,
        chosen: Chosen,
        version: str,
        count: int,
        rows: Sequence[Row] | None,
        columns: Columns | None,
        started: float,
    ) -> None:
        """The shadow's result is logged and thrown away; its failure is nobody's."""
        shadow = chosen.deployed.versions.get(version)
        if shadow is None or shadow.signature.inputs != chosen.served.signature.inputs:
            self.shadows_skipped += 1
            return
        try:
            future = shadow.ask(count, rows, columns, SHADOW, started)
        except Overloaded:
            self.shadows_skipped += 1
            return
        self._shadows.add(future)
        future.add_done_callback(self._shadow_done)

    def _shadow_done(self, future: "asyncio.Future[Answer]") -> None:
        self._shadows.discard(future)
        if not future.cancelled() and future.exception() is not None:
            log.debug("shadow_failed", error=str(future.exception()))


async def _nothing_to_bring(model_id: str) -> None:
    """Without a pool, what is not there stays away."""
