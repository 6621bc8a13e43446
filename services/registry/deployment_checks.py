"""Whether a wanted state may be: its versions, their graphs, its options and fallbacks. Over one transaction."""

import sqlalchemy as sa

from schemas.events import DeploymentWanted
from schemas.features import Signature
from schemas.manifest import Manifest
from schemas.serving_options import ServingOptions
from services.kernel.errors import Conflict, InvalidInput
from services.registry.model import WantedRoutes, check_compatible, check_routes
from services.registry.quantization.quantizer import is_held
from services.registry.rules import enforced
from services.registry.serving_rules import check_constant, check_fallback_model, check_options, returning
from services.registry.tables import deployments
from services.registry.versions import (
    find_model,
    find_version,
    list_versions,
    production_version,
    refuse_without_bytes,
)

LONGEST_CHAIN = 16
"""Models that fall back to each other."""


def check(
    connection: sa.Connection,
    model_id: str,
    wanted: WantedRoutes,
    options: ServingOptions,
    *,
    options_given: bool,
    returns: bool = False,
) -> None:
    """Raise `InvalidInput`, `NotFound` or `Conflict` unless replicas can serve `wanted` with `options`.

    What `returns` is a state that served before: it is not held up by options and by a model that have changed since.
    """
    with enforced():
        check_routes(wanted)
    if not wanted.routes:
        return
    rows = [find_version(connection, model_id, version) for version in wanted.versions]
    for row in rows:
        refuse_without_bytes(row)
    versions = [(row.version, Manifest.model_validate_json(row.manifest).signature) for row in rows]
    for version, graph in wanted.graphs.items():
        if not is_held(connection, model_id, version, graph):
            raise Conflict(
                f"the {graph.kind} graph of version {version} was given up with the version's bytes: "
                f"deploy the version with `quantize` again"
            )
    with enforced():
        check_compatible(versions)
        if not returns:
            check_options(options, versions, given=options_given)
        if wanted.fallback_constant is not None:
            check_constant(wanted.fallback_constant, versions)
    if wanted.fallback_model is not None and not returns:
        with enforced():
            check_fallback_model(
                model_id, wanted.fallback_model, _signature(connection, wanted.fallback_model), versions
            )
        _refuse_circle(connection, model_id, wanted.fallback_model)


def options_on_return(
    connection: sa.Connection, model_id: str, before: DeploymentWanted, earlier: DeploymentWanted
) -> ServingOptions:
    """The options by which the `earlier` state serves again in the place of `before`: `serving_rules.returning`."""
    takes: set[str] = set()
    for route in before.routes:
        manifest = Manifest.model_validate_json(find_version(connection, model_id, route.version).manifest)
        takes.update(feature.name for feature in manifest.signature.inputs)
    return returning(before.options, earlier.options, takes)


def current(connection: sa.Connection, model_id: str) -> DeploymentWanted | None:
    """The newest wanted state, or None when the model was never deployed."""
    document = connection.execute(
        sa.select(deployments.c.document)
        .where(deployments.c.model_id == model_id)
        .order_by(deployments.c.revision.desc())
        .limit(1)
    ).scalar()
    return DeploymentWanted.model_validate_json(document) if document is not None else None


def _signature(connection: sa.Connection, model_id: str) -> Signature:
    """What a model answers by: the deployed version, else the one in production, else the newest.

    Raises `NotFound`, and `Conflict` for a model without versions.
    """
    find_model(connection, model_id)
    wanted = current(connection, model_id)
    version = wanted.routes[0].version if wanted and wanted.routes else production_version(connection, model_id)
    if version is None:
        newest = list_versions(connection, model_id, before=None, limit=1)
        if not newest:
            raise Conflict(f"fallback_model: model {model_id!r} has no version that could answer")
        version = newest[0].version
    manifest = find_version(connection, model_id, version).manifest
    return Manifest.model_validate_json(manifest).signature


def _refuse_circle(connection: sa.Connection, model_id: str, fallback: str) -> None:
    chain = [model_id]
    following: str | None = fallback
    while following is not None:
        if following in chain or len(chain) == LONGEST_CHAIN:
            raise InvalidInput(f"fallback_model: {' -> '.join([*chain, following])} never ends")
        chain.append(following)
        wanted = current(connection, following)
        following = wanted.fallback_model if wanted is not None else None
