"""API keys: granted, listed, revoked. Only a key's SHA-256 is kept; the topic `access` tells it to every process."""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa

from schemas.events import ApiKeyGranted, ApiKeyRevoked, Scope
from services.kernel.auth import fingerprint, new_key
from services.kernel.db import Database
from services.kernel.errors import Conflict, InvalidInput, NotFound
from services.kernel.migrate import migrate
from services.kernel.settings import Settings
from services.kernel.uow import UnitOfWork, Work
from services.registry import audit
from services.registry.tables import api_keys

T = TypeVar("T")


def create(
    uow: UnitOfWork, name: str, scopes: Sequence[Scope], model_prefixes: Sequence[str] = (), *, actor: str
) -> tuple[str, str]:
    """Grant a key: (its id, the key itself, which nobody can show again).

    Raises `InvalidInput` without any scope, and `Conflict` while a live key has the name: the audit trail, four eyes
    and unfinished uploads tell people apart by it.
    """
    if not scopes:
        raise InvalidInput(f"name at least one scope of {', '.join(scope.value for scope in Scope)}")
    _refuse_taken(uow, name)
    key, key_id = new_key(), f"key-{uuid.uuid4().hex[:12]}"
    granted = ApiKeyGranted(
        key_id=key_id,
        name=name,
        sha256=fingerprint(key),
        scopes=tuple(dict.fromkeys(scopes)),
        model_prefixes=tuple(model_prefixes),
    )
    uow.connection.execute(
        api_keys.insert().values(
            key_id=key_id,
            name=name,
            sha256=granted.sha256,
            scopes=json.dumps([scope.value for scope in granted.scopes]),
            model_prefixes=json.dumps(granted.model_prefixes),
            created_at=uow.now().timestamp(),
            created_by=actor,
        )
    )
    audit.record(
        uow,
        actor,
        "key.granted",
        key_id,
        name=name,
        scopes=[scope.value for scope in granted.scopes],
        model_prefixes=list(granted.model_prefixes),
    )
    uow.publish(granted, revision=uow.next_revision("key", key_id))
    return key_id, key


def _refuse_taken(uow: UnitOfWork, name: str) -> None:
    uow.next_revision("key-name", fingerprint(name))  # locked, so that of two at once one sees the other
    live = (api_keys.c.name == name) & api_keys.c.revoked_at.is_(None)
    key_id = uow.connection.execute(sa.select(api_keys.c.key_id).where(live).limit(1)).scalar()
    if key_id is not None:
        raise Conflict(
            f"the key {key_id} is named {name!r} already, and whoever holds a key is known by its name: choose another "
            f"name, or revoke that key first with `trimtab keys revoke {key_id}`"
        )


def revoke(uow: UnitOfWork, key_id: str, *, actor: str) -> float:
    """Void a key; returns when that was (the first time, if it is void already). Raises `NotFound`."""
    row = uow.connection.execute(sa.select(api_keys).where(api_keys.c.key_id == key_id)).first()
    if row is None:
        raise NotFound(f"there is no key {key_id!r}")
    if row.revoked_at is not None:
        return float(row.revoked_at)
    now = uow.now().timestamp()
    uow.connection.execute(api_keys.update().where(api_keys.c.key_id == key_id).values(revoked_at=now))
    audit.record(uow, actor, "key.revoked", key_id, name=row.name)
    uow.publish(ApiKeyRevoked(key_id=key_id), revision=uow.next_revision("key", key_id))
    return now


def list_all(connection: sa.Connection) -> Sequence[sa.Row[Any]]:
    """Every key ever granted, oldest first; without the keys themselves."""
    return connection.execute(sa.select(api_keys).order_by(api_keys.c.created_at, api_keys.c.key_id)).all()


def create_directly(settings: Settings, name: str, scopes: Sequence[Scope]) -> tuple[str, str]:
    """Grant a key in the registry's database itself, for the first key of an installation: (id, key). Blocking.

    The registry need not run; once it does, its relay announces the key.
    """
    return directly(settings, lambda uow: create(uow, name, scopes, actor="command line"))


def create_first(settings: Settings, name: str, scopes: Sequence[Scope]) -> tuple[str, str] | None:
    """`create_directly`, unless there is any key already: then None. Blocking."""

    def grant(uow: UnitOfWork) -> tuple[str, str] | None:
        return None if list_all(uow.connection) else create(uow, name, scopes, actor="command line")

    return directly(settings, grant)


def directly(settings: Settings, fn: Callable[[UnitOfWork], T]) -> T:
    """`fn(uow)` in one transaction of the registry's database, migrated first. Blocking.

    The registry need not run; once it does, its relay sends what was published.
    """
    with opened(settings) as database:
        work = Work(database, "registry")
        return database.write_now(lambda connection: work.within(connection, fn))


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The registry's database, migrated, for a command that works in it without the registry."""
    database = Database(settings.database_of("registry"), "registry")
    try:
        if database.is_sqlite:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        migrate(database, "services.registry.migrations")
        yield database
    finally:
        database.close()
