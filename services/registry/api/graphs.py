"""From the graphs that a request asks for to the graphs themselves, made and measured before anything is deployed."""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from schemas.events import Stage
from schemas.manifest import Manifest
from services.kernel.errors import Conflict
from services.registry import deployments
from services.registry.api.parts import Parts
from services.registry.api.serving_options import Asked, Graphs
from services.registry.model import check_deployable
from services.registry.quantization.quantizer import subject_of
from services.registry.rules import enforced
from services.registry.versions import find_version, production_version, refuse_without_bytes

Reference = str | None
"""A version, `@alias`, or None: the one in production."""


async def graphs_of(
    parts: Parts,
    model_id: str,
    asked: Mapping[Reference, Asked],
    max_loss: float,
    expected_revision: int | None,
) -> tuple[dict[Reference, str], Graphs]:
    """The versions that the `asked` references name, and the graph of each. An alias may name another version a moment
    later: what was measured is what is deployed.

    Raises `NotFound`, `Conflict`, `PreconditionFailed`, and `NotQuantized` with the report.
    """
    if not asked:
        return {}, {}

    def read(connection: sa.Connection) -> dict[Reference, Any]:
        deployments.refuse_outdated(model_id, deployments.current(connection, model_id), expected_revision)
        rows = {reference: _row(connection, model_id, reference) for reference in asked}
        for row in rows.values():
            with enforced():
                check_deployable(row.version, Stage(row.stage))
            refuse_without_bytes(row)
        return rows

    rows = await parts.db.read(read)
    graphs: Graphs = {}
    for reference, kind in asked.items():
        row = rows[reference]
        if kind == "none":
            graphs[row.version] = None
            continue
        subject = subject_of(row.version, row.artifact, Manifest.model_validate_json(row.manifest))
        graphs[row.version] = await parts.quantizer.quantize(subject, kind, max_loss)
    return {reference: row.version for reference, row in rows.items()}, graphs


def _row(connection: sa.Connection, model_id: str, reference: Reference) -> Any:
    version = reference or production_version(connection, model_id)
    if version is None:
        raise Conflict(f"model {model_id!r} has no version in production: promote one, or name a version")
    return find_version(connection, model_id, version)
