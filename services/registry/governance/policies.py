"""Policies as they are kept: every revision of each model's, and of the default. Functions over one transaction."""

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from schemas.events import PolicyChanged
from services.kernel.errors import PreconditionFailed
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.governance.policy import Policy
from services.registry.tables import policies
from services.registry.versions import find_model

EVERY_MODEL = "*"
"""The model id of the default policy."""

_NONE = "null"
"""The document of a revision that gave the model's own policy up."""


@dataclass(frozen=True)
class Kept:
    """The policy that holds, where it comes from, and the revision (0: never written) of what was asked for."""

    policy: Policy
    source: Literal["model", "default", "built-in"]
    revision: int


def effective(connection: sa.Connection, model_id: str) -> Kept:
    """The policy of a model: its own, else the default, else the built-in one. `EVERY_MODEL`: the default."""
    own = _newest(connection, model_id)
    revision = own.revision if own is not None else 0
    if own is not None and own.document != _NONE:
        source: Literal["model", "default"] = "default" if model_id == EVERY_MODEL else "model"
        return Kept(Policy.model_validate_json(own.document), source, revision)
    default = _newest(connection, EVERY_MODEL) if model_id != EVERY_MODEL else None
    if default is not None and default.document != _NONE:
        return Kept(Policy.model_validate_json(default.document), "default", revision)
    return Kept(Policy(), "built-in", revision)


def write(
    uow: UnitOfWork, model_id: str, policy: Policy | None, *, actor: str, expected_revision: int | None = None
) -> Kept:
    """Make `policy` the newest revision; None: follow the default again (for the default: the built-in one).

    What holds already stays. Raises `NotFound`, and `PreconditionFailed` unless `expected_revision`, where given, is
    the present one.
    """
    connection = uow.connection
    if model_id != EVERY_MODEL:
        find_model(connection, model_id)
    model_revision = uow.next_revision("model", model_id)
    newest = _newest(connection, model_id)
    present = newest.revision if newest is not None else 0
    if expected_revision is not None and expected_revision != present:
        of = "the default policy" if model_id == EVERY_MODEL else f"the policy of {model_id}"
        raise PreconditionFailed(
            f"{of} is at revision {present}, not {expected_revision}: read it again", revision=present
        )
    document = _NONE if policy is None else policy.model_dump_json()
    if (newest.document if newest is not None else _NONE) == document:
        return effective(connection, model_id)
    connection.execute(
        policies.insert().values(
            model_id=model_id, revision=present + 1, document=document, at=uow.now().timestamp(), actor=actor
        )
    )
    kept = effective(connection, model_id)
    audit.record(
        uow, actor, "policy.changed", model_id, revision=kept.revision, policy=kept.policy.model_dump(mode="json")
    )
    uow.publish(
        PolicyChanged(
            model_id=model_id,
            policy_revision=kept.revision,
            policy=kept.policy.model_dump(mode="json"),
            actor=actor,
        ),
        revision=model_revision,
    )
    return kept


def _newest(connection: sa.Connection, model_id: str) -> sa.Row[Any] | None:
    query = sa.select(policies).where(policies.c.model_id == model_id)
    return connection.execute(query.order_by(policies.c.revision.desc()).limit(1)).first()
