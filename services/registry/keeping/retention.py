"""Retention: the bytes of old archived versions are given up, their records never.

A model's policy says after how many days in `archived`, and how many of the newest archived versions keep their bytes
all the same; without days nothing is ever given up. Whatever it says, these keep theirs: versions that are not
archived, that an alias names, that the present deployment names (routes, shadow, fallback), and that a rollback would
return to.

Giving up is one transaction: the mark `bytes_dropped_at`, the audit row, the event, the condemnation of the stored
manifest, and letting go of the smaller graphs that the version was deployed by. A grace later the manifest is removed
like any that no version names (`services.registry.keeping.collector`), and what it alone named is garbage from then on.
Until then it holds its bytes, and whoever stores it again rescues it.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.events import DeploymentWanted, Stage, VersionBytesDropped
from services.kernel.tables import revisions
from services.kernel.uow import UnitOfWork
from services.registry import audit, deployments
from services.registry.governance.policies import effective
from services.registry.keeping import garbage
from services.registry.tables import aliases, versions
from services.registry.versions import NEWEST_FIRST

ACTOR = "retention"
DAY_SECONDS = 86_400.0

Row = sa.Row[Any]

_COLUMNS = ("model_id", "version", "size_bytes", "artifact", "stage_since")


def models_with_archived(connection: sa.Connection, after: str, limit: int) -> list[str]:
    """Models after `after`, by id, that have archived versions with bytes."""
    query = (
        sa.select(versions.c.model_id)
        .where(
            versions.c.stage == Stage.ARCHIVED.value,
            versions.c.bytes_dropped_at.is_(None),
            versions.c.model_id > after,
        )
        .distinct()
        .order_by(versions.c.model_id)
        .limit(limit)
    )
    return list(connection.execute(query).scalars())


def due(connection: sa.Connection, model_id: str, now: float) -> Sequence[Row]:
    """What the model's policy gives up now: rows of model_id, version, size_bytes, artifact, stage_since."""
    policy = effective(connection, model_id).policy.retention
    if policy.drop_archived_bytes_after_days is None:
        return []
    archived: Sequence[Row] = connection.execute(
        sa.select(*(versions.c[name] for name in _COLUMNS))
        .where(
            versions.c.model_id == model_id,
            versions.c.stage == Stage.ARCHIVED.value,
            versions.c.bytes_dropped_at.is_(None),
        )
        .order_by(*NEWEST_FIRST)
    ).all()
    oldest_kept = now - policy.drop_archived_bytes_after_days * DAY_SECONDS
    old = [row for row in archived[policy.keep_newest :] if row.stage_since <= oldest_kept]
    needed = _needed(connection, model_id) if old else set()
    return [row for row in old if row.version not in needed]


def drop(uow: UnitOfWork, model_id: str, version: str) -> Row | None:
    """Give up the bytes of a version that is due, and return its row; None when it is due no more."""
    connection = uow.connection
    revision = uow.next_revision("model", model_id)  # no promotion, alias or policy changes meanwhile
    lock = sa.select(revisions).where(revisions.c.kind == "deployment", revisions.c.entity == model_id)
    connection.execute(lock.with_for_update())  # and no deployment
    now = uow.now().timestamp()
    row = next((row for row in due(connection, model_id, now) if row.version == version), None)
    if row is None:
        return None
    mine = (versions.c.model_id == model_id) & (versions.c.version == version)
    connection.execute(versions.update().where(mine).values(bytes_dropped_at=now))
    garbage.let_go(connection, [garbage.quantized_holder(model_id, version)])
    garbage.condemn(connection, {garbage.unit_of(row.artifact): row.size_bytes}, now)
    days = effective(connection, model_id).policy.retention.drop_archived_bytes_after_days
    reason = f"archived for more than {days} days, which is what the policy keeps"
    audit.record(uow, ACTOR, "version.bytes-dropped", f"{model_id}:{version}", size_bytes=row.size_bytes, reason=reason)
    uow.publish(
        VersionBytesDropped(model_id=model_id, version=version, size_bytes=row.size_bytes, reason=reason),
        revision=revision,
    )
    return row


def _needed(connection: sa.Connection, model_id: str) -> set[str]:
    query = sa.select(aliases.c.version).where(aliases.c.model_id == model_id)
    needed: set[str] = set(connection.execute(query).scalars())
    wanted = deployments.current(connection, model_id)
    if wanted is not None:
        needed |= _versions_of(wanted)
        earlier = deployments.earlier_state(connection, model_id)
        if earlier is not None:
            needed |= _versions_of(earlier[1])
    return needed


def _versions_of(wanted: DeploymentWanted) -> set[str]:
    return set(deployments.routes_of(wanted).versions)
