"""Routes that tell what a version is: its card, its lineage, what differs from another."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse
from pydantic import StringConstraints, ValidationError

from schemas.base import Document, Name, Version
from schemas.baseline import Baseline
from schemas.events import Scope
from schemas.manifest import BASELINE_NAME
from services.kernel.artifacts import read_file
from services.kernel.errors import IntegrityFailed, TooLarge
from services.kernel.http.api import Reader
from services.registry import versions
from services.registry.api.parts import Parts, PartsOf, VersionRef
from services.registry.insight import card
from services.registry.insight.card_page import page_of
from services.registry.insight.comparison import compare
from services.registry.insight.lineage import MAX_DEPTH, lineage_of
from services.registry.versions import Row

MAX_BASELINE_BYTES = 16 << 20
"""A larger baseline is not shown on cards."""

router = APIRouter(prefix="/mlops/models", tags=["models"])

OtherVersion = Annotated[
    str,
    StringConstraints(
        pattern=r"^([A-Za-z0-9][A-Za-z0-9._-]{0,127}:)?(@[A-Za-z0-9][A-Za-z0-9._-]{0,127}|\d{1,9}(\.\d{1,9}){2})$"
    ),
]


class Side(Document):
    """One of two versions that are compared."""

    model_id: Name
    version: Version
    stage: str


class ComparisonDocument(Document):
    """Version `a` beside version `b`; of what is the same, only metrics and files are listed."""

    a: Side
    b: Side
    same_model: bool
    same_interface: bool
    metrics: list[dict[str, Any]]
    hyperparameters: list[dict[str, Any]]
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    classes: dict[str, Any] | None
    lineage: list[dict[str, Any]]
    files: list[dict[str, Any]]
    baseline: list[dict[str, Any]]


class LineageDocument(Document):
    """A graph; `root` is the version that was asked for. Not `complete`: more generations than were followed."""

    model_id: Name
    version: Version
    root: str
    complete: bool
    nodes: list[dict[str, Any]]
    edges: list[dict[str, Any]]


@router.get("/{model_id}/compare", summary="What is different between two versions", response_model=ComparisonDocument)
async def compare_versions(
    model_id: Name,
    parts: PartsOf,
    principal: Reader,
    a: Annotated[VersionRef, Query(description="A version, or @alias.")],
    b: Annotated[OtherVersion, Query(description="Another, also of another model: OTHER:VERSION.")],
) -> JSONResponse:
    """Metrics (which is better), hyper-parameters, inputs and outputs, lineage, files and baselines."""
    other, _, other_version = b.rpartition(":")
    principal.demand(Scope.READ, other or model_id)
    one, two = await parts.db.read(
        lambda connection: (
            versions.find_version(connection, model_id, a),
            versions.find_version(connection, other or model_id, other_version),
        )
    )
    baselines = await _baseline(parts, one), await _baseline(parts, two)
    found = compare(card.manifest_of(one), card.manifest_of(two), baselines)
    return JSONResponse({"a": _side(one), "b": _side(two), **asdict(found)})


@router.get("/{model_id}/{version}/lineage", summary="Where a version comes from and what became of it")
async def lineage(
    model_id: Name,
    version: VersionRef,
    parts: PartsOf,
    _: Reader,
    depth: Annotated[int, Query(ge=0, le=MAX_DEPTH, description="Generations of parents, and of children.")] = 3,
) -> LineageDocument:
    """Data, experiment, cycle and job it was made by; parents, children; the deployment that serves it."""

    def read(connection: sa.Connection) -> LineageDocument:
        number = versions.find_version(connection, model_id, version).version
        graph = lineage_of(connection, model_id, number, depth)
        return LineageDocument(model_id=model_id, version=number, **card.document_of(graph))

    return await parts.db.read(read)


@router.get("/{model_id}/{version}/card", summary="The card of a version")
async def model_card(
    model_id: Name,
    version: VersionRef,
    parts: PartsOf,
    _: Reader,
    format: Annotated[Literal["markdown", "json"] | None, Query(description="None: as Accept says.")] = None,
    accept: Annotated[str, Header()] = "",
) -> Response:
    """A page of Markdown, or the same as JSON: what it is, metrics beside its parent's, data, lineage, approvals."""
    row = await parts.db.read(lambda connection: versions.find_version(connection, model_id, version))
    baseline = await _baseline(parts, row)
    found = await parts.db.read(lambda connection: card.card_of(connection, model_id, row.version, baseline))
    if format == "json" or (format is None and "json" in accept and "markdown" not in accept):
        return JSONResponse(found)
    return Response(page_of(found), media_type="text/markdown; charset=utf-8")


def _side(row: Row) -> dict[str, str]:
    return {"model_id": row.model_id, "version": row.version, "stage": row.stage}


async def _baseline(parts: Parts, row: Row) -> Baseline | None:
    """The baseline of a version; None when it has none, or one that is none or gone."""
    file = next((file for file in card.manifest_of(row).files if file.path == BASELINE_NAME), None)
    if file is None or row.bytes_dropped_at is not None:
        return None
    try:
        data = await asyncio.to_thread(read_file, parts.store, row.artifact, file, MAX_BASELINE_BYTES)
        return Baseline.model_validate_json(data)
    except (IntegrityFailed, TooLarge, ValidationError):
        return None
