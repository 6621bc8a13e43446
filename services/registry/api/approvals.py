"""Routes of approvals, checks and gates: what is said about a version, and what still stands before a stage."""

from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from pydantic import Field

from schemas.base import Document, Name, StrictDocument, Version
from schemas.events import Decision, Scope, Stage
from services.kernel.http.api import Reader, Writer
from services.kernel.uow import UnitOfWork
from services.registry import versions
from services.registry.api.governance import (
    ApprovalDocument,
    CheckDocument,
    GateDocument,
    approval_document,
    check_document,
    gate_document,
)
from services.registry.api.parts import (
    Cursor,
    IdempotencyKey,
    Limit,
    PartsOf,
    VersionRef,
    from_cursor,
    once,
    to_cursor,
)
from services.registry.governance import approvals, checks
from services.registry.governance.facts import gates_before
from services.registry.governance.policy import GatedStage
from services.registry.words import Words

router = APIRouter(prefix="/mlops/models/{model_id}/{version}", tags=["governance"])


class DecisionWanted(StrictDocument):
    """`ask` for the approval of a promotion to `stage`, `approve` it, or `reject` it."""

    stage: GatedStage
    decision: Decision
    comment: Words = Field(default="", max_length=2000)


class CheckWanted(StrictDocument):
    """A result: of a test suite, a scan, a review."""

    name: Name
    passed: bool
    detail: Words = Field(default="", max_length=20_000)


class ApprovalList(Document):
    """A page of what was said about a version, newest first; of each person the latest word on a stage counts."""

    model_id: Name
    version: Version
    approvals: list[ApprovalDocument]
    next_cursor: str | None


class CheckList(Document):
    """The latest result of each check, by name, and a page of all results, newest first."""

    model_id: Name
    version: Version
    latest: list[CheckDocument]
    history: list[CheckDocument]
    next_cursor: str | None


class GateList(Document):
    """Every condition before `stage`. `open`: all are met. Whether the move is legal is another question."""

    model_id: Name
    version: Version
    stage: Stage
    open: bool
    gates: list[GateDocument]


@router.get("/approvals", summary="What was said about promoting a version")
async def list_approvals(
    model_id: Name, version: VersionRef, parts: PartsOf, _: Reader, limit: Limit = 100, cursor: Cursor = None
) -> ApprovalList:
    """Who asked, approved or rejected, when and why; newest first."""
    position = from_cursor(cursor, int)

    def read(connection: sa.Connection) -> ApprovalList:
        found = versions.find_version(connection, model_id, version).version
        before = position[0] if position else None
        rows = approvals.list_decisions(connection, model_id, found, before=before, limit=limit + 1)
        return ApprovalList(
            model_id=model_id,
            version=found,
            approvals=[approval_document(row) for row in rows[:limit]],
            next_cursor=to_cursor(rows[limit - 1].seq) if len(rows) > limit else None,
        )

    return await parts.db.read(read)


@router.post(
    "/approvals", summary="Ask for approval, approve or reject", status_code=201, response_model=ApprovalDocument
)
async def decide(
    model_id: Name,
    version: VersionRef,
    wanted: DecisionWanted,
    parts: PartsOf,
    principal: Reader,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Asking needs the scope `write`, approving and rejecting `approve`. It is kept for ever."""
    principal.demand(Scope.WRITE if wanted.decision is Decision.ASK else Scope.APPROVE, model_id)

    def change(uow: UnitOfWork) -> Document:
        row = approvals.decide(
            uow, model_id, version, wanted.stage, wanted.decision, actor=principal.name, comment=wanted.comment
        )
        return approval_document(row)

    request = [model_id, version, wanted.model_dump(mode="json")]
    return await once(parts, "approvals", idempotency_key, request, 201, change, principal.name)


@router.get("/checks", summary="The results of a version's checks")
async def list_checks(
    model_id: Name, version: VersionRef, parts: PartsOf, _: Reader, limit: Limit = 100, cursor: Cursor = None
) -> CheckList:
    """The latest of each, and all of them."""
    position = from_cursor(cursor, int)

    def read(connection: sa.Connection) -> CheckList:
        found = versions.find_version(connection, model_id, version).version
        before = position[0] if position else None
        rows = checks.list_checks(connection, model_id, found, before=before, limit=limit + 1)
        return CheckList(
            model_id=model_id,
            version=found,
            latest=[check_document(row) for row in checks.latest_checks(connection, model_id, found)],
            history=[check_document(row) for row in rows[:limit]],
            next_cursor=to_cursor(rows[limit - 1].seq) if len(rows) > limit else None,
        )

    return await parts.db.read(read)


@router.post("/checks", summary="Record the result of a check", status_code=201, response_model=CheckDocument)
async def record_check(
    model_id: Name,
    version: VersionRef,
    wanted: CheckWanted,
    parts: PartsOf,
    principal: Writer,
    idempotency_key: IdempotencyKey = None,
) -> JSONResponse:
    """Appended; the latest result of a name counts."""

    def change(uow: UnitOfWork) -> Document:
        row = checks.record_check(
            uow, model_id, version, wanted.name, wanted.passed, actor=principal.name, detail=wanted.detail
        )
        return check_document(row)

    request = [model_id, version, wanted.model_dump(mode="json")]
    return await once(parts, "checks", idempotency_key, request, 201, change, principal.name)


@router.get("/gates", summary="What stands between a version and a stage")
async def list_gates(
    model_id: Name,
    version: VersionRef,
    parts: PartsOf,
    _: Reader,
    stage: Annotated[GatedStage, Query(description="staging or production.")] = Stage.PRODUCTION,
) -> GateList:
    """Each gate of the policy that holds now, met or not, and by whom."""

    def read(connection: sa.Connection) -> GateList:
        row = versions.find_version(connection, model_id, version)
        gates = gates_before(connection, row, stage, datetime.now(UTC))
        return GateList(
            model_id=model_id,
            version=row.version,
            stage=stage,
            open=all(gate.met for gate in gates),
            gates=[gate_document(gate) for gate in gates],
        )

    return await parts.db.read(read)
