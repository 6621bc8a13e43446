"""Deployments: the wanted state of each model's serving, every revision of it kept. Functions over one transaction."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import sqlalchemy as sa

from schemas.events import DeploymentWanted, Route, Stage
from schemas.serving_options import Constant, Quantized, ServingOptions
from services.kernel.errors import Conflict, InvalidInput, NotFound, PreconditionFailed
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.deployment_checks import check, options_on_return
from services.registry.deployment_checks import current as current
from services.registry.model import (
    FALLBACK,
    SHADOW,
    Past,
    WantedRoutes,
    after_promotion,
    check_deployable,
    check_names,
    full_route,
    rollback_target,
    split_routes,
    with_canary,
)
from services.registry.quantization.quantizer import hold
from services.registry.rules import enforced
from services.registry.tables import deployments
from services.registry.versions import find_model, find_version, production_version

NO_GRAPHS: Mapping[str, Quantized | None] = {}


def list_current(
    connection: sa.Connection, *, prefixes: Sequence[str] = (), after: str | None = None, limit: int = 100
) -> list[DeploymentWanted]:
    """The newest wanted state of up to `limit` models after `after`, by model id."""
    newest = sa.select(deployments.c.model_id, sa.func.max(deployments.c.revision).label("revision"))
    if after is not None:
        newest = newest.where(deployments.c.model_id > after)
    if prefixes:
        newest = newest.where(sa.or_(*(sa.func.substr(deployments.c.model_id, 1, len(p)) == p for p in prefixes)))
    page = newest.group_by(deployments.c.model_id).order_by(deployments.c.model_id).limit(limit).subquery()
    same = (deployments.c.model_id == page.c.model_id) & (deployments.c.revision == page.c.revision)
    rows = connection.execute(sa.select(deployments.c.document).join(page, same).order_by(deployments.c.model_id))
    return [DeploymentWanted.model_validate_json(row.document) for row in rows]


def routes_of(wanted: DeploymentWanted) -> WantedRoutes:
    """The routing part of a wanted state."""
    return WantedRoutes(**{field.name: getattr(wanted, field.name) for field in fields(WantedRoutes)})


@dataclass(frozen=True)
class Beside:
    """What a deployment has beside its routes. Versions may be named by alias."""

    shadow: str | None = None
    fallback: str | None = None
    fallback_model: str | None = None
    fallback_constant: Constant | None = None
    sticky_key: str | None = None


NOTHING = Beside()


def deploy(
    uow: UnitOfWork,
    model_id: str,
    *,
    version: str | None = None,
    canary: float | None = None,
    weights: Mapping[str, float] | None = None,
    variants: Mapping[str, tuple[str, float]] | None = None,
    beside: Beside = NOTHING,
    options: ServingOptions | None = None,
    graphs: Mapping[str, Quantized | None] = NO_GRAPHS,
    actor: str,
    reason: str = "",
    expected_revision: int | None = None,
) -> DeploymentWanted:
    """Send a model's traffic to `version` (default: the one in production), a part of it with `canary`, or split it by
    `weights` or between `variants` (name -> version, percent). Versions may be named by alias (`@champion`); what is
    kept is the version.

    Beside a canary the present shadow, fallbacks and sticky key stay unless others are named; a shadow that becomes the
    canary is no shadow any more. A full deployment starts afresh. The `options` are the model's: without new ones they
    stay. A version that is served stays with its graph unless `graphs` (version -> smaller graph, or None: its own) say
    otherwise.

    Raises `NotFound`, `InvalidInput`, `Conflict` (a version that may not be deployed; nothing in production)
    and `PreconditionFailed`.
    """
    connection = uow.connection
    _hold(uow, model_id)
    before = current(connection, model_id)
    kept = before if before is not None and canary is not None else None
    if weights is not None:
        named = {each: _route(connection, model_id, each) for each in weights}
        if len({route.version for route in named.values()}) < len(named):
            raise InvalidInput("`weights` names a version twice, once by an alias")
        shares = {named[each].version: weight for each, weight in weights.items()}
        routes = split_routes({route.version: route for route in named.values()}, shares)
    elif variants is not None:
        routes = _called(connection, model_id, ((name, *variant) for name, variant in variants.items()))
    else:
        chosen = version or production_version(connection, model_id)
        if chosen is None:
            raise Conflict(f"model {model_id!r} has no version in production: promote one, or name a version")
        route = _route(connection, model_id, chosen)
        with enforced():
            routes = (
                full_route(route) if canary is None else with_canary(before.routes if before else (), route, canary)
            )
    shadow = kept.shadow if kept else None
    if shadow is not None and shadow.version in {route.version for route in routes}:
        shadow = None
    wanted = WantedRoutes(
        routes,
        _named(connection, model_id, SHADOW, beside.shadow) or shadow,
        _named(connection, model_id, FALLBACK, beside.fallback) or (kept.fallback if kept else None),
        beside.fallback_model or (kept.fallback_model if kept else None),
        beside.fallback_constant or (kept.fallback_constant if kept else None),
        beside.sticky_key or (kept.sticky_key if kept else None),
    )
    return want(
        uow,
        model_id,
        wanted,
        options=options,
        graphs=graphs,
        actor=actor,
        reason=reason,
        expected_revision=expected_revision,
    )


def replace(
    uow: UnitOfWork,
    model_id: str,
    routes: Sequence[tuple[str, str, float]],
    *,
    beside: Beside = NOTHING,
    options: ServingOptions | None = None,
    graphs: Mapping[str, Quantized | None] = NO_GRAPHS,
    actor: str,
    reason: str = "",
    expected_revision: int | None = None,
) -> DeploymentWanted:
    """Set the whole wanted state; `routes` are (name, version, weight in percent). None at all: nothing is served.

    `options` and `graphs` as in `deploy`.
    """
    _hold(uow, model_id)
    connection = uow.connection
    wanted = WantedRoutes(
        _called(connection, model_id, routes),
        _named(connection, model_id, SHADOW, beside.shadow),
        _named(connection, model_id, FALLBACK, beside.fallback),
        beside.fallback_model,
        beside.fallback_constant,
        beside.sticky_key,
    )
    return want(
        uow,
        model_id,
        wanted,
        options=options,
        graphs=graphs,
        actor=actor,
        reason=reason,
        expected_revision=expected_revision,
    )


def set_options(
    uow: UnitOfWork,
    model_id: str,
    options: ServingOptions,
    *,
    actor: str,
    expected_revision: int | None = None,
) -> DeploymentWanted:
    """Other options, the same traffic and the same reason for it: whoever brought it about (the loop, say) knows it
    again. Raises `NotFound` for a model that was never deployed."""
    _hold(uow, model_id)
    before = find_current(uow.connection, model_id)
    return want(
        uow,
        model_id,
        routes_of(before),
        options=options,
        actor=actor,
        reason=before.reason,
        expected_revision=expected_revision,
    )


def rollback(uow: UnitOfWork, model_id: str, *, actor: str, reason: str = "") -> DeploymentWanted:
    """Return to the newest earlier wanted state without the version that joined last (`model.rollback_target`).

    Versions that were archived meanwhile may serve again. The options are the model's and stay; features that the
    earlier state hid and the present versions lack are hidden again. Raises `Conflict` when there is no earlier state.
    """
    _hold(uow, model_id)
    before = current(uow.connection, model_id)
    if before is None:
        raise Conflict(f"model {model_id!r} was never deployed")
    found = earlier_state(uow.connection, model_id)
    if found is None:
        raise Conflict(f"model {model_id!r} has no earlier deployment to return to")
    target, earlier = found
    return want(
        uow,
        model_id,
        routes_of(earlier),
        options=options_on_return(uow.connection, model_id, before, earlier),
        actor=actor,
        reason=reason or f"rollback to revision {target.revision}",
        restores=target.restores or target.revision,
        returns=True,
    )


def earlier_state(connection: sa.Connection, model_id: str) -> tuple[Past, DeploymentWanted] | None:
    """What a rollback returns to, or None when there is nothing."""
    rows = connection.execute(
        sa.select(deployments).where(deployments.c.model_id == model_id).order_by(deployments.c.revision)
    ).all()
    documents = {row.revision: DeploymentWanted.model_validate_json(row.document) for row in rows}
    past = [
        Past(row.revision, frozenset(route.version for route in documents[row.revision].routes), row.restores)
        for row in rows
    ]
    target = rollback_target(past) if past else None
    return (target, documents[target.revision]) if target is not None else None


def end_canary(uow: UnitOfWork, model_id: str, promoted: str, actor: str) -> int | None:
    """All traffic to the `promoted` version if it shares it with another now; the new revision, or None.

    The caller has locked the model.
    """
    before = current(uow.connection, model_id)
    routes = after_promotion(before.routes, promoted) if before is not None else None
    if before is None or routes is None:
        return None
    shadow = before.shadow if before.shadow and before.shadow.version != promoted else None
    wanted = dataclasses.replace(routes_of(before), routes=routes, shadow=shadow)
    reason = f"version {promoted} was promoted to production"
    return want(uow, model_id, wanted, actor=actor, reason=reason, returns=True).revision


def want(
    uow: UnitOfWork,
    model_id: str,
    wanted: WantedRoutes,
    *,
    options: ServingOptions | None = None,
    graphs: Mapping[str, Quantized | None] | None = None,
    actor: str,
    reason: str,
    expected_revision: int | None = None,
    restores: int | None = None,
    returns: bool = False,
) -> DeploymentWanted:
    """Make `wanted` the newest revision and announce it. What is wanted already stays as it is.

    Without `options` those of the model stay. With `graphs` a version gets the one that these name, else the one by
    which it is served now; without, what `wanted` says. `restores` is the revision that this one repeats; what
    `returns` has served before (`deployment_checks.check`).

    The caller has locked the model before it looked at anything: whoever changes a deployment takes the locks of the
    model, the deployment and the audit trail in this order.

    Raises `PreconditionFailed` unless `expected_revision`, where given, is the present one (0: never deployed).
    """
    connection = uow.connection
    revision = uow.next_revision("deployment", model_id)
    before = current(connection, model_id)
    refuse_outdated(model_id, before, expected_revision)
    present = before.options if before is not None else ServingOptions()
    if graphs is not None:
        for version, graph in graphs.items():
            if graph is not None:
                hold(connection, model_id, version, graph)
        wanted = wanted.by_graphs({**(routes_of(before).graphs if before is not None else {}), **graphs})
    applied = options if options is not None else present
    check(connection, model_id, wanted, applied, options_given=options is not None, returns=returns)
    if before is not None and routes_of(before) == wanted and present == applied:
        return before
    now = uow.now()
    document = DeploymentWanted(
        model_id=model_id,
        revision=revision,
        **{field.name: getattr(wanted, field.name) for field in fields(WantedRoutes)},
        options=applied,
        actor=actor,
        reason=reason,
        since=now,
    )
    connection.execute(
        deployments.insert().values(
            model_id=model_id,
            revision=revision,
            document=document.model_dump_json(),
            restores=restores,
            at=now.timestamp(),
        )
    )
    facts: dict[str, Any] = {"routes": {route.version: route.weight for route in wanted.routes}, "reason": reason}
    if applied != present:
        facts["options"] = applied.model_dump(mode="json", exclude_defaults=True)
    if wanted.graphs:
        facts["quantized"] = {version: graph.kind for version, graph in wanted.graphs.items()}
    audit.record(uow, actor, "deployment.wanted", model_id, revision=revision, **facts)
    uow.publish(document, revision=revision)
    return document


def refuse_outdated(model_id: str, present: DeploymentWanted | None, expected_revision: int | None) -> None:
    """Raise `PreconditionFailed` unless the present deployment has the revision that is expected, if one is."""
    revision = present.revision if present is not None else 0
    if expected_revision is not None and expected_revision != revision:
        raise PreconditionFailed(
            f"the deployment of {model_id} is at revision {revision}, not {expected_revision}: read it again",
            revision=revision,
        )


def revisions_of(
    connection: sa.Connection, model_id: str, *, before: int | None = None, limit: int = 100
) -> list[DeploymentWanted]:
    """Every wanted state that a model had, newest first."""
    query = sa.select(deployments.c.document).where(deployments.c.model_id == model_id)
    if before is not None:
        query = query.where(deployments.c.revision < before)
    rows = connection.execute(query.order_by(deployments.c.revision.desc()).limit(limit))
    return [DeploymentWanted.model_validate_json(row.document) for row in rows]


def find_current(connection: sa.Connection, model_id: str) -> DeploymentWanted:
    """`current`, or `NotFound`."""
    wanted = current(connection, model_id)
    if wanted is None:
        find_model(connection, model_id)
        raise NotFound(f"model {model_id!r} was never deployed")
    return wanted


def _hold(uow: UnitOfWork, model_id: str) -> None:
    """Lock the model, so that no version is archived while it is being deployed, and nobody else deploys one. Raises
    `NotFound`."""
    find_model(uow.connection, model_id)
    uow.next_revision("model", model_id)


def _route(connection: sa.Connection, model_id: str, version: str) -> Route:
    row = find_version(connection, model_id, version)
    with enforced():
        check_deployable(row.version, Stage(row.stage))
    return Route(
        name=row.version, version=row.version, weight=0, artifact=row.artifact, manifest_digest=row.manifest_digest
    )


def _called(connection: sa.Connection, model_id: str, routes: Iterable[tuple[str, str, float]]) -> tuple[Route, ...]:
    """Routes by (name, version, percent), as somebody calls them."""
    made = tuple(
        _route(connection, model_id, version).model_copy(update={"name": name, "weight": float(weight)})
        for name, version, weight in routes
    )
    with enforced():
        check_names(route.name for route in made)
    return made


def _named(connection: sa.Connection, model_id: str, name: str, version: str | None) -> Route | None:
    if version is None:
        return None
    return _route(connection, model_id, version).model_copy(update={"name": name})
