"""Routes of a model's compliance checklist, and of the report made from it."""

from datetime import UTC, datetime
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Response

from schemas.base import Document, Name
from services.kernel.http.api import Approver, Reader
from services.registry import versions
from services.registry.api.governance import ControlDocument, control_document
from services.registry.api.parts import PartsOf
from services.registry.api.report import ComplianceReport, markdown_of, report_of
from services.registry.governance import controls
from services.registry.governance.checklist import Control

router = APIRouter(prefix="/mlops/models/{model_id}", tags=["governance"])


class ControlList(Document):
    """The whole checklist, by id."""

    model_id: Name
    controls: list[ControlDocument]


@router.get("/controls", summary="The compliance checklist of a model")
async def list_controls(model_id: Name, parts: PartsOf, _: Reader) -> ControlList:
    """Every control with its evidence, owner and expiry, and what it counts as now."""

    def read(connection: sa.Connection) -> ControlList:
        versions.find_model(connection, model_id)
        now = datetime.now(UTC)
        rows = controls.list_controls(connection, model_id)
        return ControlList(model_id=model_id, controls=[control_document(row, now) for row in rows])

    return await parts.db.read(read)


@router.put("/controls/{control_id}", summary="Write a control")
async def write_control(
    model_id: Name, control_id: Name, wanted: Control, parts: PartsOf, principal: Approver
) -> ControlDocument:
    """The whole control, not a part of it. What it said before is in the audit trail."""
    row = await parts.work.run(
        lambda uow: controls.write_control(uow, model_id, control_id, wanted, actor=principal.name)
    )
    return control_document(row, datetime.now(UTC))


@router.delete("/controls/{control_id}", summary="Take a control off the checklist", status_code=204)
async def remove_control(model_id: Name, control_id: Name, parts: PartsOf, principal: Approver) -> Response:
    """It gates nothing any more. What it said is in the audit trail."""
    await parts.work.run(lambda uow: controls.remove_control(uow, model_id, control_id, actor=principal.name))
    return Response(status_code=204)


@router.get(
    "/compliance",
    summary="The compliance report",
    response_model=ComplianceReport,
    responses={200: {"content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
async def compliance(
    model_id: Name,
    parts: PartsOf,
    _: Reader,
    format: Annotated[Literal["json", "markdown"], Query(description="json or markdown.")] = "json",
) -> ComplianceReport | Response:
    """The checklist, what is in production, and who vouched for it."""
    report = await parts.db.read(lambda connection: report_of(connection, model_id, datetime.now(UTC)))
    if format == "markdown":
        return Response(markdown_of(report), media_type="text/markdown; charset=utf-8")
    return report
