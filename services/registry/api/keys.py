"""Routes of API keys; for administrators."""

import json
from typing import Any

import sqlalchemy as sa
from fastapi import APIRouter
from pydantic import Field

from schemas.base import Document, Name, StrictDocument, UtcTime
from schemas.events import Scope
from services.kernel.http.api import EveryModelAdmin
from services.registry import keys
from services.registry.api.parts import PartsOf, time_of
from services.registry.words import Words

router = APIRouter(prefix="/mlops/keys", tags=["keys"])


class KeyWanted(StrictDocument):
    """A key to grant. Empty `model_prefixes`: every model."""

    name: Words = Field(min_length=1, max_length=200)
    scopes: tuple[Scope, ...] = Field(min_length=1)
    model_prefixes: tuple[Name, ...] = Field(default=(), max_length=100)


class KeyDocument(Document):
    """A key without its secret."""

    key_id: str
    name: str
    scopes: tuple[Scope, ...]
    model_prefixes: tuple[str, ...]
    created_at: UtcTime
    created_by: str
    revoked_at: UtcTime | None


class KeyGranted(Document):
    """A new key. `key` is shown here and never again."""

    key_id: str
    key: str
    name: str
    scopes: tuple[Scope, ...]
    model_prefixes: tuple[str, ...]


class KeyRevoked(Document):
    """A key that is void."""

    key_id: str
    revoked_at: UtcTime


class KeyList(Document):
    """Every key, void ones included."""

    keys: list[KeyDocument]


@router.post("", summary="Grant a key", status_code=201)
async def create_key(wanted: KeyWanted, parts: PartsOf, principal: EveryModelAdmin) -> KeyGranted:
    """Random, kept as a hash only. There is no Idempotency-Key here, since the answer cannot be kept."""
    key_id, key = await parts.work.run(
        lambda uow: keys.create(uow, wanted.name, wanted.scopes, wanted.model_prefixes, actor=principal.name)
    )
    return KeyGranted(
        key_id=key_id, key=key, name=wanted.name, scopes=wanted.scopes, model_prefixes=wanted.model_prefixes
    )


@router.get("", summary="List keys")
async def list_keys(parts: PartsOf, _: EveryModelAdmin) -> KeyList:
    """Oldest first."""
    return KeyList(keys=[_document(row) for row in await parts.db.read(keys.list_all)])


@router.delete("/{key_id}", summary="Revoke a key")
async def revoke_key(key_id: Name, parts: PartsOf, principal: EveryModelAdmin) -> KeyRevoked:
    """Void from now on, in every process, within moments."""
    revoked_at = await parts.work.run(lambda uow: keys.revoke(uow, key_id, actor=principal.name))
    return KeyRevoked(key_id=key_id, revoked_at=time_of(revoked_at))


def _document(row: sa.Row[Any]) -> KeyDocument:
    return KeyDocument(
        key_id=row.key_id,
        name=row.name,
        scopes=json.loads(row.scopes),
        model_prefixes=json.loads(row.model_prefixes),
        created_at=time_of(row.created_at),
        created_by=row.created_by,
        revoked_at=time_of(row.revoked_at) if row.revoked_at is not None else None,
    )
