"""Which models answer, and by which routes."""

import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from schemas.events import DeploymentWanted
from services.kernel.errors import NotFound, Unavailable
from services.serving.router import PINNED, RoutePlan
from services.serving.served import ServedVersion


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

    def __init__(self) -> None:
        self.models: dict[str, Deployed] = {}
        self.loading: dict[str, str] = {}
        """Models that are wanted and do not answer yet, with the reason."""
        self.bring: Callable[[str], Awaitable[None]] = _nothing_to_bring
        """Loads a model that is wanted and not in memory. Raises `NotFound` and `Unavailable`."""
        self.known: Callable[[], bool] = lambda: True
        """Whether all that is wanted has been heard of; until then a model that is not there may yet come."""

    def install(self, wanted: DeploymentWanted, versions: Mapping[str, ServedVersion]) -> Deployed:
        """From now on the model answers by `wanted`, whose versions are `versions`, by number."""
        for served in versions.values():
            served.apply(wanted.options)
        deployed = self.models[wanted.model_id] = Deployed(RoutePlan(wanted), dict(versions))
        self.loading.pop(wanted.model_id, None)
        return deployed

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


async def _nothing_to_bring(model_id: str) -> None:
    """Without a pool, what is not there stays away."""
