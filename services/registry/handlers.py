"""What the registry does with messages."""

import time
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from schemas.base import Message
from schemas.events import JobSucceeded
from services.kernel.db import insert_into
from services.kernel.uow import UnitOfWork
from services.registry.tables import registrations

PENDING, DONE, REFUSED = "pending", "done", "refused"


def on_job_succeeded(message: JobSucceeded, uow: UnitOfWork) -> None:
    """Remember that this artifact waits to be checked; the registrar does that outside of any transaction."""
    if not message.register_as_version:
        return
    insert = insert_into(uow.connection, registrations)
    statement: sa.Executable = insert.values(
        model_id=message.model_id,
        job_id=message.job_id,
        artifact=message.artifact,
        manifest_digest=message.manifest_digest,
        message=message.model_dump_json(by_alias=True),
        envelope=uow.envelope.model_dump_json() if uow.envelope else None,
        state=PENDING,
        tries=0,
        next_try_at=time.time(),
        at=time.time(),
    ).on_conflict_do_nothing(index_elements=["artifact", "manifest_digest"])
    uow.connection.execute(statement)


HANDLERS: dict[type[Message], Callable[[Any, UnitOfWork], None]] = {JobSucceeded: on_job_succeeded}
