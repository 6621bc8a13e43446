"""Aliases: names that point to one version of a model each, and the history of it. Functions over one transaction."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from schemas.events import ModelAliased, Stage
from services.kernel.db import insert_into
from services.kernel.errors import Conflict, InvalidInput, NotFound
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.tables import alias_moves, aliases
from services.registry.versions import find_model, find_version

Row = sa.Row[Any]

_LIKE_A_VERSION = re.compile(r"\d+\.\d+\.\d+")


def set_alias(uow: UnitOfWork, model_id: str, alias: str, version: str, *, actor: str, comment: str = "") -> Row:
    """Let `alias` point to `version` (which may be another alias, `@name`); its row. Where it points, it stays.

    Raises `InvalidInput` for a name that is taken, `NotFound`, and `Conflict` for a version that is archived.
    """
    _check_name(alias)
    connection = uow.connection
    revision = uow.next_revision("model", model_id)
    row = find_version(connection, model_id, version)
    if row.stage == Stage.ARCHIVED.value or row.bytes_dropped_at is not None:
        raise Conflict(f"version {row.version} is archived: promote it to staging before @{alias} names it")
    before = _find(connection, model_id, alias)
    if before is not None and before.version == row.version:
        return before
    now = uow.now().timestamp()
    values = {"version": row.version, "at": now, "actor": actor}
    connection.execute(
        insert_into(connection, aliases)
        .values(model_id=model_id, alias=alias, **values)
        .on_conflict_do_update(index_elements=["model_id", "alias"], set_=values)
    )
    _moved(uow, revision, model_id, alias, row.version, before.version if before else None, actor, comment)
    return find_alias(connection, model_id, alias)


def remove_alias(uow: UnitOfWork, model_id: str, alias: str, *, actor: str, comment: str = "") -> None:
    """Let `alias` point to nothing any more. Raises `NotFound`."""
    revision = uow.next_revision("model", model_id)
    before = find_alias(uow.connection, model_id, alias)
    uow.connection.execute(aliases.delete().where(aliases.c.model_id == model_id, aliases.c.alias == alias))
    _moved(uow, revision, model_id, alias, None, before.version, actor, comment)


def find_alias(connection: sa.Connection, model_id: str, alias: str) -> Row:
    """The alias's row: version, at, actor. Raises `NotFound`."""
    row = _find(connection, model_id, alias)
    if row is None:
        find_model(connection, model_id)
        raise NotFound(f"model {model_id!r} has no alias {alias!r}")
    return row


def list_aliases(connection: sa.Connection, model_ids: Sequence[str]) -> Sequence[Row]:
    """Every alias of these models, by model and name."""
    query = sa.select(aliases).where(aliases.c.model_id.in_(model_ids))
    return connection.execute(query.order_by(aliases.c.model_id, aliases.c.alias)).all()


def aliases_of(connection: sa.Connection, model_id: str, version: str) -> list[str]:
    """The names that point to a version, in order."""
    query = sa.select(aliases.c.alias).where(aliases.c.model_id == model_id, aliases.c.version == version)
    return list(connection.execute(query.order_by(aliases.c.alias)).scalars())


def alias_history(
    connection: sa.Connection, model_id: str, alias: str, *, before: int | None = None, limit: int = 100
) -> Sequence[Row]:
    """Every move of an alias, newest first; `before` is the `seq` of the last one seen."""
    query = sa.select(alias_moves).where(alias_moves.c.model_id == model_id, alias_moves.c.alias == alias)
    if before is not None:
        query = query.where(alias_moves.c.seq < before)
    return connection.execute(query.order_by(alias_moves.c.seq.desc()).limit(limit)).all()


def aliased_at(connection: sa.Connection, model_id: str, alias: str, at: datetime) -> Row | None:
    """The move by which `alias` pointed at `at` to what it did, or None: it pointed to nothing."""
    row = connection.execute(
        sa.select(alias_moves)
        .where(alias_moves.c.model_id == model_id, alias_moves.c.alias == alias, alias_moves.c.at <= at.timestamp())
        .order_by(alias_moves.c.seq.desc())
        .limit(1)
    ).first()
    return row if row is not None and row.version is not None else None


def _find(connection: sa.Connection, model_id: str, alias: str) -> Row | None:
    query = sa.select(aliases).where(aliases.c.model_id == model_id, aliases.c.alias == alias)
    return connection.execute(query).first()


def _check_name(alias: str) -> None:
    if _LIKE_A_VERSION.fullmatch(alias):
        raise InvalidInput(f"{alias} is a version's number, so it can't be an alias")
    if alias.lower() in set(Stage):
        raise InvalidInput(f"{alias} is a stage: promote the version to it, or choose another alias")


def _moved(
    uow: UnitOfWork,
    revision: int,
    model_id: str,
    alias: str,
    version: str | None,
    previous: str | None,
    actor: str,
    comment: str,
) -> None:
    uow.connection.execute(
        alias_moves.insert().values(
            model_id=model_id,
            alias=alias,
            version=version,
            previous_version=previous,
            at=uow.now().timestamp(),
            actor=actor,
            comment=comment,
        )
    )
    audit.record(
        uow, actor, "model.aliased", f"{model_id}@{alias}", version=version, previous_version=previous, comment=comment
    )
    uow.publish(
        ModelAliased(
            model_id=model_id,
            alias=alias,
            version=version,
            previous_version=previous,
            actor=actor,
            comment=comment,
        ),
        revision=revision,
    )
