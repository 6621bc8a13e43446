"""Routes of trusted signers and of the signatures of versions."""

import asyncio
import json
from typing import Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Response
from pydantic import Field

from schemas.base import Document, JsonValue, Name, StrictDocument, UtcTime, Version
from services.kernel.artifacts import fetch_manifest
from services.kernel.errors import Conflict
from services.kernel.http.api import EveryModelAdmin, Reader, Writer
from services.registry import versions
from services.registry.api.parts import PartsOf, VersionRef, time_of
from services.registry.keeping import signing
from services.registry.words import Words

router = APIRouter(prefix="/mlops", tags=["signatures"])


class SignerWanted(StrictDocument):
    """A public key to trust: PEM, elliptic curve P-256, P-384 or P-521."""

    name: Words = Field(min_length=1, max_length=200)
    public_key: str = Field(min_length=1, max_length=10_000)


class SignerDocument(Document):
    """A trusted key, or one that was."""

    key_sha256: str
    name: str
    public_key: str
    trusted_at: UtcTime
    trusted_by: str
    revoked_at: UtcTime | None


class SignerList(Document):
    """Every signer, oldest first."""

    signers: list[SignerDocument]


class SignerRevoked(Document):
    """A key whose signatures count no more."""

    key_sha256: str
    revoked_at: UtcTime


class SignatureDocument(Document):
    """A signature of a version. `bundle` is what `model_signing verify key` takes."""

    signer: str
    key_sha256: str
    state: Literal["valid", "revoked"]
    signed_at: UtcTime
    added_by: str
    bundle: dict[str, JsonValue]


class SignatureList(Document):
    """The signatures of a version, oldest first, and the names whose signatures are valid now."""

    model_id: Name
    version: Version
    signed_by: list[str]
    signatures: list[SignatureDocument]


@router.get("/signers", summary="List the trusted signers")
async def list_signers(parts: PartsOf, _: Reader) -> SignerList:
    """Revoked ones included."""
    return SignerList(signers=[_signer(row) for row in await parts.db.read(signing.list_signers)])


@router.post("/signers", summary="Trust a signer", status_code=201)
async def trust(wanted: SignerWanted, parts: PartsOf, principal: EveryModelAdmin, response: Response) -> SignerDocument:
    """Their signatures are accepted from now on. 200 when the key is trusted already."""

    def change(uow: Any) -> tuple[signing.Row | None, bool]:
        key_sha256, created = signing.trust(uow, wanted.name, wanted.public_key, actor=principal.name)
        return signing.find_signer(uow.connection, key_sha256), created

    row, created = await parts.work.run(change)
    assert row is not None
    response.status_code = 201 if created else 200
    return _signer(row)


@router.delete("/signers/{key_sha256}", summary="Trust a signer no more")
async def revoke(key_sha256: Name, parts: PartsOf, principal: EveryModelAdmin) -> SignerRevoked:
    """Every signature that the key made counts no more, from now on and for ever."""
    at = await parts.work.run(lambda uow: signing.revoke(uow, key_sha256, actor=principal.name))
    return SignerRevoked(key_sha256=key_sha256, revoked_at=time_of(at))


@router.get("/models/{model_id}/{version}/signatures", summary="The signatures of a version")
async def list_signatures(model_id: Name, version: VersionRef, parts: PartsOf, _: Reader) -> SignatureList:
    """With their bundles."""
    return await parts.db.read(lambda connection: _signatures(connection, model_id, version))


@router.post("/models/{model_id}/{version}/signatures", summary="Add a signature of a version", status_code=201)
async def add_signature(
    model_id: Name,
    version: VersionRef,
    bundle: dict[str, JsonValue],
    parts: PartsOf,
    principal: Writer,
    response: Response,
) -> SignatureList:
    """The body is the bundle that `trimtab models sign` or `model_signing sign key` made, over the version's folder.

    It is checked against the trusted signers before it is kept. 200 when it is there already.
    """
    row = await parts.db.read(lambda connection: versions.find_version(connection, model_id, version))
    if row.bytes_dropped_at is not None:
        raise Conflict(f"version {row.version} can't be signed: the retention policy gave up its files")
    _, manifest = await asyncio.to_thread(fetch_manifest, parts.store, row.artifact, row.manifest_digest)
    data = json.dumps(bundle).encode()

    def change(uow: Any) -> tuple[SignatureList, bool]:
        _, created = signing.add(uow, model_id, row.version, data, manifest, actor=principal.name)
        return _signatures(uow.connection, model_id, row.version), created

    found, created = await parts.work.run(change)
    response.status_code = 201 if created else 200
    return found


def _signatures(connection: sa.Connection, model_id: str, version: str) -> SignatureList:
    row = versions.find_version(connection, model_id, version)
    rows = signing.signatures_of(connection, model_id, row.version)
    return SignatureList(
        model_id=model_id,
        version=row.version,
        signed_by=signing.signed_by(connection, model_id, row.version),
        signatures=[
            SignatureDocument(
                signer=each.name,
                key_sha256=each.key_sha256,
                state="valid" if each.revoked_at is None else "revoked",
                signed_at=time_of(each.at),
                added_by=each.actor,
                bundle=json.loads(each.bundle),
            )
            for each in rows
        ],
    )


def _signer(row: signing.Row) -> SignerDocument:
    return SignerDocument(
        key_sha256=row.key_sha256,
        name=row.name,
        public_key=row.public_key,
        trusted_at=time_of(row.at),
        trusted_by=row.actor,
        revoked_at=time_of(row.revoked_at) if row.revoked_at is not None else None,
    )
