"""Checks: results of tests, scans and reviews of a version, by name. Appended only; the latest of each counts."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.events import CheckRecorded
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.tables import checks
from services.registry.versions import find_version

Row = sa.Row[Any]


def record_check(
    uow: UnitOfWork, model_id: str, version: str, name: str, passed: bool, *, actor: str, detail: str = ""
) -> Row:
    """Append a result; its row. Raises `NotFound`."""
    connection = uow.connection
    revision = uow.next_revision("model", model_id)
    version = find_version(connection, model_id, version).version
    seq = connection.execute(
        checks.insert()
        .values(
            model_id=model_id,
            version=version,
            name=name,
            passed=passed,
            detail=detail,
            actor=actor,
            at=uow.now().timestamp(),
        )
        .returning(checks.c.seq)
    ).scalar_one()
    audit.record(uow, actor, "check.recorded", f"{model_id}:{version}", check=name, passed=passed)
    uow.publish(
        CheckRecorded(model_id=model_id, version=version, check=name, passed=passed, detail=detail, actor=actor),
        revision=revision,
    )
    return connection.execute(sa.select(checks).where(checks.c.seq == seq)).one()


def list_checks(
    connection: sa.Connection, model_id: str, version: str, *, before: int | None = None, limit: int = 100
) -> Sequence[Row]:
    """Every result, newest first; `before` is the `seq` of the last one seen."""
    query = sa.select(checks).where(checks.c.model_id == model_id, checks.c.version == version)
    if before is not None:
        query = query.where(checks.c.seq < before)
    return connection.execute(query.order_by(checks.c.seq.desc()).limit(limit)).all()


def latest_checks(connection: sa.Connection, model_id: str, version: str) -> Sequence[Row]:
    """The latest result of each check, by name."""
    newest = (
        sa.select(sa.func.max(checks.c.seq))
        .where(checks.c.model_id == model_id, checks.c.version == version)
        .group_by(checks.c.name)
    )
    return connection.execute(sa.select(checks).where(checks.c.seq.in_(newest)).order_by(checks.c.name)).all()
