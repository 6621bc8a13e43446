"""What holds for stages, versions and deployments. Pure: no I/O, no framework.

Stages. A version moves one step at a time: draft -> staging -> production, and from anywhere to archived. An
archived version may return to staging, and to production when it has been there before (a rollback). At most
one version of a model is in production.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from schemas.events import Route, Stage
from schemas.features import Signature
from schemas.serving_options import Constant, Quantized

STABLE = "stable"
CANARY = "canary"
SHADOW = "shadow"
FALLBACK = "fallback"
RESERVED = frozenset({SHADOW, FALLBACK, "pinned"})
"""What serving calls an answer that no weight chose."""

WEIGHT_TOLERANCE = 1e-6
"""By how much the percentages of a deployment may miss 100."""

_MOVES: dict[Stage, frozenset[Stage]] = {
    Stage.DRAFT: frozenset({Stage.STAGING, Stage.ARCHIVED}),
    Stage.STAGING: frozenset({Stage.PRODUCTION, Stage.ARCHIVED}),
    Stage.PRODUCTION: frozenset({Stage.ARCHIVED}),
    Stage.ARCHIVED: frozenset({Stage.STAGING, Stage.PRODUCTION}),
}


class RuleBroken(ValueError):
    """What was asked breaks a rule of this module; the text is a sentence that says what to do instead."""


class Malformed(RuleBroken):
    """What was asked is wrong in itself, whatever the registry holds."""


# stages -----------------------------------------------------------------------------------------------------------


def check_move(version: str, origin: Stage, target: Stage, *, was_in_production: bool) -> None:
    """Raise `RuleBroken` unless `version` may move from `origin` to `target`."""
    if origin is target:
        raise RuleBroken(f"version {version} is in {target} already")
    if target is Stage.DRAFT:
        raise RuleBroken("nothing returns to draft: register a new version")
    if target not in _MOVES[origin]:
        step = "promote it to staging first" if origin is Stage.DRAFT else "archive it, or promote another version"
        raise RuleBroken(f"version {version} is in {origin} and cannot move to {target}: {step}")
    if origin is Stage.ARCHIVED and target is Stage.PRODUCTION and not was_in_production:
        raise RuleBroken(f"version {version} was never in production: promote it to staging first")


def check_deployable(version: str, stage: Stage) -> None:
    """Raise `RuleBroken` unless a version in `stage` may get traffic."""
    if stage is Stage.DRAFT:
        raise RuleBroken(f"version {version} is a draft: promote it to staging or production before it is deployed")
    if stage is Stage.ARCHIVED:
        raise RuleBroken(f"version {version} is archived: promote it to staging or production before it is deployed")


# versions ---------------------------------------------------------------------------------------------------------

VersionNumber = tuple[int, int, int]


def parse_version(text: str) -> VersionNumber:
    """The numbers of `MAJOR.MINOR.PATCH`, for ordering.

    >>> parse_version("1.10.20240614") > parse_version("1.9.20240615")
    True
    """
    major, minor, patch = text.split(".")
    return int(major), int(minor), int(patch)


def next_version(newest: VersionNumber | None, today: date) -> str:
    """The version that a model gets when none is asked for: `MAJOR.MINOR.YYYYMMDD`, greater than `newest`.

    The first of a day keeps `MAJOR.MINOR`; every further one adds one to MINOR, which never falls back.

    >>> next_version(None, date(2024, 6, 14))
    '1.0.20240614'
    >>> next_version((1, 0, 20240614), date(2024, 6, 14))
    '1.1.20240614'
    >>> next_version((1, 1, 20240614), date(2024, 6, 15))
    '1.1.20240615'
    """
    day = int(f"{today:%Y%m%d}")
    if newest is None:
        return f"1.0.{day}"
    major, minor, patch = newest
    return f"{major}.{minor if day > patch else minor + 1}.{day}"


# deployments ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WantedRoutes:
    """The part of a deployment that routes traffic, failed requests included. No routes: nothing is served."""

    routes: tuple[Route, ...]
    shadow: Route | None = None
    fallback: Route | None = None
    fallback_model: str | None = None
    fallback_constant: Constant | None = None
    sticky_key: str | None = None

    @property
    def versions(self) -> list[str]:
        """Every version that replicas must load, without repeats, in order."""
        return list(dict.fromkeys(route.version for route in self.all))

    @property
    def all(self) -> tuple[Route, ...]:
        """The routes, the shadow and the fallback."""
        return (*self.routes, *(route for route in (self.shadow, self.fallback) if route))

    @property
    def graphs(self) -> dict[str, Quantized]:
        """The smaller graphs by which versions are served, by version."""
        return {route.version: route.quantized for route in self.all if route.quantized is not None}

    def by_graphs(self, graphs: Mapping[str, Quantized | None]) -> "WantedRoutes":
        """The same with the graphs of these versions; one version is served by one graph, whatever its routes are."""

        def dressed(route: Route) -> Route:
            return route.model_copy(update={"quantized": graphs.get(route.version)})

        return replace(
            self,
            routes=tuple(dressed(route) for route in self.routes),
            shadow=dressed(self.shadow) if self.shadow else None,
            fallback=dressed(self.fallback) if self.fallback else None,
        )


def check_routes(wanted: WantedRoutes) -> None:
    """Raise `Malformed` unless the weights are percentages that add up to 100, and names and versions differ."""
    if not wanted.routes:
        if wanted.shadow or wanted.fallback or wanted.fallback_model or wanted.fallback_constant:
            raise Malformed("without routes there is nothing to shadow and nothing to fall back from")
        return
    for route in wanted.routes:
        if not (math.isfinite(route.weight) and 0 <= route.weight <= 100):
            raise Malformed(f"the weight of route {route.name!r} must be a percentage, 0 to 100")
    total = math.fsum(route.weight for route in wanted.routes)
    if abs(total - 100) > WEIGHT_TOLERANCE:
        raise Malformed(f"the weights add up to {total:g} %, not 100 %")
    for what in ("name", "version"):
        values = [getattr(route, what) for route in wanted.routes]
        if len(set(values)) < len(values):
            raise Malformed(f"two routes have the same {what}")
    for version in wanted.versions:
        if len({route.quantized for route in wanted.all if route.version == version}) > 1:
            raise Malformed(f"version {version} cannot be served by two graphs in one deployment")
    if wanted.shadow and wanted.shadow.version in {route.version for route in wanted.routes}:
        raise Malformed(f"version {wanted.shadow.version} gets traffic already, so it cannot be the shadow")


def check_names(names: Iterable[str]) -> None:
    """Raise `Malformed` unless a person may call routes so."""
    taken = RESERVED.intersection(names)
    if taken:
        raise Malformed(f"a route cannot be called {min(taken)!r}: answers and the prediction log use that word")


def full_route(route: Route) -> tuple[Route, ...]:
    """All traffic to one version."""
    return (route.model_copy(update={"name": STABLE, "weight": 100.0}),)


def with_canary(current: Sequence[Route], canary: Route, percent: float) -> tuple[Route, ...]:
    """The current heaviest route with `100 - percent` of the traffic, and the canary with `percent`.

    A canary that runs already is replaced, or its share changed. Raises `RuleBroken` when nothing is
    deployed, or the canary is what serves everything now.
    """
    if not (math.isfinite(percent) and 0 < percent < 100):
        raise Malformed(
            "a canary gets more than 0 % and less than 100 % of the traffic; leave `canary` out for all of it"
        )
    others = [route for route in current if route.version != canary.version]
    if not others:
        if current:
            raise RuleBroken(f"version {canary.version} has all the traffic already")
        raise RuleBroken(
            "nothing is deployed that a canary could be compared with: deploy a version without `canary` first"
        )
    stable = max(others, key=lambda route: route.weight)
    return (
        stable.model_copy(update={"name": STABLE, "weight": 100.0 - percent}),
        canary.model_copy(update={"name": CANARY, "weight": float(percent)}),
    )


def split_routes(routes: Mapping[str, Route], weights: Mapping[str, float]) -> tuple[Route, ...]:
    """One route a version, named as the version, with the given percentages. `routes` holds every version's
    route.
    """
    return tuple(
        routes[version].model_copy(update={"name": version, "weight": float(weight)})
        for version, weight in weights.items()
    )


def after_promotion(current: Sequence[Route], promoted: str) -> tuple[Route, ...] | None:
    """All traffic to the `promoted` version if it shares the traffic with another now, else None: no change."""
    mine = next((route for route in current if route.version == promoted), None)
    return full_route(mine) if mine is not None and len(current) > 1 else None


@dataclass(frozen=True)
class Past:
    """One revision of a deployment: which versions it routed to, and which revision it restored, if it was a
    rollback.
    """

    revision: int
    versions: frozenset[str]
    restores: int | None = None


def rollback_target(past: Sequence[Past]) -> Past | None:
    """The revision to return to from the last of `past` (ordered, oldest first), or None when there is none.

    It is the newest earlier one without the version that joined last, so a rollback undoes a whole rollout and not
    just the last step of a growing canary. From a rollback it goes on from the revision that was restored, never
    forward again.
    """
    present = past[-1]
    joined: dict[str, int] = {}
    for item in past:
        for version in item.versions:
            joined.setdefault(version, item.revision)
    suspect = max(present.versions, key=lambda version: joined[version], default=None)
    limit = present.restores or present.revision
    return next(
        (p for p in reversed(past) if p.revision < limit and p.versions and suspect not in p.versions),
        None,
    )


def check_compatible(signatures: Iterable[tuple[str, Signature]]) -> None:
    """Raise `RuleBroken` unless all (version, signature) take the same inputs: names, dtypes and shapes, in
    any order.

    One request must fit every version that may answer it.
    """
    (first, reference), *others = signatures
    for version, signature in others:
        odd = differing_inputs(reference, signature)
        if odd:
            raise RuleBroken(
                f"versions {first} and {version} cannot serve one deployment, since they differ in the inputs "
                f"{', '.join(odd[:5])}"
            )


def differing_inputs(one: Signature, other: Signature) -> list[str]:
    """The names of the inputs that only one of the two takes, or takes in another dtype or shape; sorted."""
    mine, its = ({feature.name: (feature.dtype, feature.shape) for feature in each.inputs} for each in (one, other))
    return sorted(name for name in mine.keys() | its.keys() if mine.get(name) != its.get(name))
