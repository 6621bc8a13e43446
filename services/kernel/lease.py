"""Leases with fencing: one holder at a time, and a zombie that wakes up late can be told by its epoch."""

import time
from collections.abc import Callable

import sqlalchemy as sa

from services.kernel.db import insert_into
from services.kernel.tables import leases


def acquire(
    connection: sa.Connection,
    name: str,
    holder: str,
    seconds: float,
    clock: Callable[[], float] = time.time,
    *,
    spare_seconds: float | None = None,
) -> int | None:
    """Take or renew the lease `name` for `seconds`. The epoch when held, or None when another holds it.

    The epoch grows by one each time the lease changes hands. What its holder has for more than `spare_seconds` yet is
    left as it is, which writes nothing.
    """
    now = clock()
    row = connection.execute(sa.select(leases).where(leases.c.name == name).with_for_update()).one_or_none()
    if row is None:
        insert = insert_into(connection, leases)
        first = insert.values(name=name, holder=holder, epoch=1, expires_at=now + seconds).on_conflict_do_nothing()
        taken = connection.execute(first.returning(leases.c.epoch)).first()
        return None if taken is None else 1  # another took it at the same moment
    if row.holder != holder and row.expires_at > now:
        return None
    if spare_seconds is not None and row.holder == holder and now + spare_seconds < row.expires_at <= now + seconds:
        return int(row.epoch)
    epoch = row.epoch if row.holder == holder else row.epoch + 1
    connection.execute(
        leases.update().where(leases.c.name == name).values(holder=holder, epoch=epoch, expires_at=now + seconds)
    )
    return int(epoch)


def release(connection: sa.Connection, name: str, holder: str) -> None:
    """Give the lease back, so that the next holder need not wait."""
    connection.execute(
        leases.update().where(leases.c.name == name, leases.c.holder == holder).values(expires_at=0.0, holder="")
    )
