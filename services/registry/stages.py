"""Moving versions between stages, and the history of it. Functions over one transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from schemas.events import ModelArchived, ModelPromoted, Stage
from services.kernel.errors import Conflict
from services.kernel.uow import UnitOfWork
from services.registry import audit, deployments
from services.registry.aliases import aliases_of
from services.registry.annotations import annotate
from services.registry.governance.facts import gates_before
from services.registry.governance.gates import unmet
from services.registry.governance.policies import effective
from services.registry.model import check_move
from services.registry.rules import GatesUnmet, enforced
from services.registry.tables import stage_moves, versions
from services.registry.versions import find_version, production_version, refuse_without_bytes

MAX_PAST = 4_000
"""Characters of unmet gates in the comment of a move."""


@dataclass(frozen=True)
class Moved:
    """What a move did: which version, where it came from, which one it replaced, the deployment that it caused.

    `past` are the gates that a rollback went past, in words; `deployed_versions` get the traffic now, where the version
    in production gets none of it.
    """

    version: str
    from_stage: Stage
    to_stage: Stage
    replaced_version: str | None = None
    deployment_revision: int | None = None
    past: tuple[str, ...] = ()
    deployed_versions: tuple[str, ...] = ()


def move(
    uow: UnitOfWork,
    model_id: str,
    version: str,
    target: Stage,
    *,
    actor: str,
    comment: str = "",
    changes: str | None = None,
) -> Moved:
    """Move a version (or `@alias`) to `target`, with `changes` written beside it if they are given.

    Raises `NotFound`, `Conflict` for a move that is not legal, and `GatesUnmet` for one that the model's policy does
    not allow yet. A version that was in production before returns there past every gate: a rollback must not wait for
    anybody. Those that were unmet are in the answer, in the history's comment and in the audit trail.

    What was in production before is archived by the same decision, or returns to staging if the policy says so or an
    alias names it. A version that shares the traffic with another (a canary) gets all of it when it is promoted to
    production. A version that is deployed, or named by an alias, is not archived by
    a move of its own; one that another replaces is, and keeps its traffic until somebody deploys.
    """
    connection = uow.connection
    if changes is not None:
        annotate(uow, model_id, version, changes=changes, actor=actor)
    revision = uow.next_revision("model", model_id)
    row = find_version(connection, model_id, version)
    version, origin = row.version, Stage(row.stage)
    returns = target is Stage.PRODUCTION and _was_in_production(connection, model_id, version)
    with enforced():
        check_move(version, origin, target, was_in_production=returns)
    past: dict[str, Any] = {}
    missing: list[str] = []
    if target is Stage.ARCHIVED:
        _refuse_deployed(connection, model_id, version)
        _refuse_aliased(connection, model_id, version)
    else:
        refuse_without_bytes(row)
        missing = unmet(gates_before(connection, row, target, uow.now()))
        if returns:
            past = {"returns": True, "unmet": missing}
        elif missing:
            raise GatesUnmet(
                f"version {version} cannot move to {target.value} yet: {'; '.join(missing)}", unmet=missing
            )
    replaced = production_version(connection, model_id) if target is Stage.PRODUCTION else None
    if replaced is not None:
        stage, why = _after_production(connection, model_id, replaced)
        _set_stage(uow, model_id, replaced, Stage.PRODUCTION, stage, actor, f"replaced by {version}{why}", None)
    _set_stage(uow, model_id, version, origin, target, actor, _with_past(comment, missing), replaced)
    audit.record(
        uow,
        actor,
        f"model.{target.value}",
        f"{model_id}:{version}",
        from_stage=origin.value,
        comment=comment,
        **past,
    )
    if target is Stage.ARCHIVED:
        uow.publish(
            ModelArchived(model_id=model_id, version=version, from_stage=origin, actor=actor, comment=comment),
            revision=revision,
        )
        return Moved(version, origin, target)
    uow.publish(
        ModelPromoted(
            model_id=model_id,
            version=version,
            from_stage=origin,
            to_stage=target,
            actor=actor,
            comment=comment,
            replaced_version=replaced,
        ),
        revision=revision,
    )
    deployed = deployments.end_canary(uow, model_id, version, actor) if target is Stage.PRODUCTION else None
    others = _deployed_instead(connection, model_id, version) if target is Stage.PRODUCTION else ()
    return Moved(version, origin, target, replaced, deployed, tuple(missing), others)


def history(
    connection: sa.Connection,
    model_id: str,
    *,
    version: str | None = None,
    before: int | None = None,
    limit: int = 100,
) -> Sequence[sa.Row[Any]]:
    """Moves of a model (or one version of it), newest first; `before` is the `seq` of the last one seen."""
    query = sa.select(stage_moves).where(stage_moves.c.model_id == model_id)
    if version is not None:
        query = query.where(stage_moves.c.version == version)
    if before is not None:
        query = query.where(stage_moves.c.seq < before)
    return connection.execute(query.order_by(stage_moves.c.seq.desc()).limit(limit)).all()


def in_production_at(connection: sa.Connection, model_id: str, at: datetime) -> sa.Row[Any] | None:
    """The move by which the version that was in production at `at` got there, or None: nothing was in production."""
    touched = (stage_moves.c.to_stage == Stage.PRODUCTION.value) | (stage_moves.c.from_stage == Stage.PRODUCTION.value)
    row = connection.execute(
        sa.select(stage_moves)
        .where(stage_moves.c.model_id == model_id, stage_moves.c.at <= at.timestamp(), touched)
        .order_by(stage_moves.c.seq.desc())
        .limit(1)
    ).first()
    return row if row is not None and row.to_stage == Stage.PRODUCTION.value else None


def _was_in_production(connection: sa.Connection, model_id: str, version: str) -> bool:
    query = sa.select(stage_moves.c.seq).where(
        stage_moves.c.model_id == model_id,
        stage_moves.c.version == version,
        stage_moves.c.to_stage == Stage.PRODUCTION.value,
    )
    return connection.execute(query.limit(1)).first() is not None


def _with_past(comment: str, missing: Sequence[str]) -> str:
    """The comment of a move, and what a rollback went past."""
    if not missing:
        return comment
    past = f"past {'; '.join(missing)}"[:MAX_PAST]
    return f"{comment}; {past}" if comment else past


def _deployed_instead(connection: sa.Connection, model_id: str, version: str) -> tuple[str, ...]:
    """The versions that get the model's traffic now, if `version` gets none of it."""
    wanted = deployments.current(connection, model_id)
    found = [route.version for route in wanted.routes] if wanted is not None else []
    return () if version in found else tuple(dict.fromkeys(found))


def _refuse_deployed(connection: sa.Connection, model_id: str, version: str) -> None:
    wanted = deployments.current(connection, model_id)
    if wanted is not None and version in deployments.routes_of(wanted).versions:
        raise Conflict(f"version {version} is deployed: deploy another version before this one is archived")


def _refuse_aliased(connection: sa.Connection, model_id: str, version: str) -> None:
    names = aliases_of(connection, model_id, version)
    if names:
        raise Conflict(
            f"version {version} is {', '.join(f'@{name}' for name in names)}: let the alias name another version, or "
            "remove it, before this one is archived"
        )


def _after_production(connection: sa.Connection, model_id: str, version: str) -> tuple[Stage, str]:
    """Where a version goes that leaves production for another, and why it is not archived, if it is not."""
    if effective(connection, model_id).policy.former == "staging":
        return Stage.STAGING, "; kept in staging by the policy"
    names = aliases_of(connection, model_id, version)
    if names:
        return Stage.STAGING, f"; kept in staging as {', '.join(f'@{name}' for name in names)}"
    return Stage.ARCHIVED, ""


def _set_stage(
    uow: UnitOfWork,
    model_id: str,
    version: str,
    origin: Stage,
    target: Stage,
    actor: str,
    comment: str,
    replaced: str | None,
) -> None:
    now = uow.now().timestamp()
    uow.connection.execute(
        versions.update()
        .where(versions.c.model_id == model_id, versions.c.version == version)
        .values(stage=target.value, stage_since=now)
    )
    uow.connection.execute(
        stage_moves.insert().values(
            model_id=model_id,
            version=version,
            from_stage=origin.value,
            to_stage=target.value,
            at=now,
            actor=actor,
            comment=comment,
            replaced_version=replaced,
        )
    )
