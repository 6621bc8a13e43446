"""Routes that verify what is kept: the bytes of versions, and the audit trail."""

import asyncio
from typing import Literal

import sqlalchemy as sa
from fastapi import APIRouter, Request

from schemas.base import Document, Name, Version
from services.kernel.http.api import EveryModelAdmin, Reader
from services.registry import audit, versions
from services.registry.api.parts import PartsOf, VersionRef
from services.registry.keeping import signing, verification
from services.registry.keeping.verification import SignatureState, State, Verdict

router = APIRouter(prefix="/mlops", tags=["integrity"])


class FileChecked(Document):
    """One file of a version."""

    path: str
    size: int
    state: State
    detail: str


class SignatureChecked(Document):
    """One signature of a version. `unchecked`: the manifest that it signs is not there."""

    signer: str
    key_sha256: str
    state: SignatureState
    detail: str


class VersionVerified(Document):
    """What was found. `dropped`: retention gave the bytes up, so there is nothing to check."""

    model_id: Name
    version: Version
    state: Literal["ok", "bad", "dropped"]
    manifest_digest: str
    bytes_read: int
    files: list[FileChecked]
    signatures: list[SignatureChecked]


class AuditVerified(Document):
    """The chain of the audit trail. `broken_at` is the first row that was changed or removed, or null."""

    rows: int
    broken_at: int | None


@router.post("/models/{model_id}/{version}/verify", summary="Read and hash every byte of a version")
async def verify(model_id: Name, version: VersionRef, request: Request, parts: PartsOf, _: Reader) -> VersionVerified:
    """Its files against the manifest, the manifest against the record, its signatures against the trusted signers.

    200 whatever was found: `state` tells.
    """

    def read(connection: sa.Connection) -> tuple[versions.Row, list[signing.Row]]:
        row = versions.find_version(connection, model_id, version)
        return row, list(signing.signatures_of(connection, model_id, row.version))

    row, signatures = await parts.db.read(read)
    at_once: asyncio.Semaphore = request.app.state.service.state["verifications"]
    async with at_once:
        found = await asyncio.to_thread(verification.verify, parts.store, row, signatures)
    return _document(row, found)


@router.post("/audit/verify", summary="Check the chain of the audit trail")
async def verify_audit(parts: PartsOf, _: EveryModelAdmin) -> AuditVerified:
    """Every row against the one before it, from the first to the last ever written."""

    def read(connection: sa.Connection) -> AuditVerified:
        return AuditVerified(rows=audit.last_seq(connection), broken_at=audit.broken_at(connection))

    return await parts.db.read(read)


def _document(row: versions.Row, found: Verdict) -> VersionVerified:
    return VersionVerified(
        model_id=row.model_id,
        version=row.version,
        state=found.state,
        manifest_digest=row.manifest_digest,
        bytes_read=found.bytes_read,
        files=[FileChecked(path=f.path, size=f.size, state=f.state, detail=f.detail) for f in found.files],
        signatures=[
            SignatureChecked(signer=s.signer, key_sha256=s.key_sha256, state=s.state, detail=s.detail)
            for s in found.signatures
        ],
    )
