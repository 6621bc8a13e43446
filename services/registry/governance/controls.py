"""A model's compliance checklist as it is kept. Functions over one transaction; its history is in the audit trail."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.events import ControlChanged
from services.kernel.db import insert_into
from services.kernel.errors import NotFound
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.governance.checklist import Control
from services.registry.tables import controls
from services.registry.versions import find_model

Row = sa.Row[Any]


def write_control(uow: UnitOfWork, model_id: str, control_id: str, control: Control, *, actor: str) -> Row:
    """Write an entry anew; its row. What is there already stays. Raises `NotFound`."""
    connection = uow.connection
    find_model(connection, model_id)
    revision = uow.next_revision("model", model_id)
    document = control.model_dump_json()
    before = _find(connection, model_id, control_id)
    if before is not None and before.document == document:
        return before
    values = {"document": document, "at": uow.now().timestamp(), "actor": actor}
    connection.execute(
        insert_into(connection, controls)
        .values(model_id=model_id, control_id=control_id, **values)
        .on_conflict_do_update(index_elements=["model_id", "control_id"], set_=values)
    )
    _changed(uow, revision, model_id, control_id, control, actor)
    return find_control(connection, model_id, control_id)


def remove_control(uow: UnitOfWork, model_id: str, control_id: str, *, actor: str) -> None:
    """Take an entry off the checklist; the audit trail keeps what it said. Raises `NotFound`."""
    revision = uow.next_revision("model", model_id)
    find_control(uow.connection, model_id, control_id)
    uow.connection.execute(
        controls.delete().where(controls.c.model_id == model_id, controls.c.control_id == control_id)
    )
    _changed(uow, revision, model_id, control_id, None, actor)


def find_control(connection: sa.Connection, model_id: str, control_id: str) -> Row:
    """The entry's row. Raises `NotFound`."""
    row = _find(connection, model_id, control_id)
    if row is None:
        find_model(connection, model_id)
        raise NotFound(f"model {model_id!r} has no control {control_id!r}")
    return row


def list_controls(connection: sa.Connection, model_id: str) -> Sequence[Row]:
    """The whole checklist, by id."""
    query = sa.select(controls).where(controls.c.model_id == model_id).order_by(controls.c.control_id)
    return connection.execute(query).all()


def control_of(row: Row) -> Control:
    """The control of a row."""
    return Control.model_validate_json(row.document)


def _find(connection: sa.Connection, model_id: str, control_id: str) -> Row | None:
    query = sa.select(controls).where(controls.c.model_id == model_id, controls.c.control_id == control_id)
    return connection.execute(query).first()


def _changed(
    uow: UnitOfWork, revision: int, model_id: str, control_id: str, control: Control | None, actor: str
) -> None:
    document = control.model_dump(mode="json") if control is not None else None
    action = "control.written" if control is not None else "control.removed"
    audit.record(uow, actor, action, f"{model_id}/{control_id}", control=document)
    uow.publish(
        ControlChanged(model_id=model_id, control_id=control_id, control=document, actor=actor), revision=revision
    )
