"""The card of a version: everything that is known about it, in one document. `card_page` makes a page of it."""

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from schemas.baseline import Baseline
from schemas.features import Feature, Signature
from schemas.manifest import Manifest
from services.registry import stages
from services.registry.aliases import aliases_of
from services.registry.insight.comparison import compare
from services.registry.insight.lineage import Graph, as_mermaid, lineage_of
from services.registry.tables import approvals, checks, controls, signatures, signers, versions
from services.registry.versions import Row, find_model, find_version

MAX_MOVES = 50
"""Moves of the history, decisions and checks on a card."""

Card = dict[str, Any]


def manifest_of(row: Row) -> Manifest:
    """The manifest in a version's row."""
    return Manifest.model_validate(json.loads(row.manifest))


def card_of(connection: sa.Connection, model_id: str, version: str, baseline: Baseline | None) -> Card:
    """The card of a version; `baseline` is that of the version, if it has one. Raises `NotFound`."""
    row = find_version(connection, model_id, version)
    manifest, model = manifest_of(row), find_model(connection, model_id)
    graph = lineage_of(connection, model_id, row.version)
    mine = {"model_id": model_id, "version": row.version}
    return {
        **mine,
        "model_name": manifest.model_name or model.name,
        "model_type": manifest.model_type or model.model_type,
        "framework": row.framework,
        "stage": row.stage,
        "stage_since": _time(row.stage_since),
        "aliases": aliases_of(connection, model_id, row.version),
        "registered_at": _time(row.registered_at),
        "registered_by": row.registered_by,
        "description": row.description,
        "changes": row.changes,
        "tags": json.loads(row.tags),
        "parent_version": row.parent_version,
        "metrics": _metrics(connection, row, manifest),
        "data": _data(manifest, baseline),
        "inputs": [_shown(feature) for feature in manifest.signature.inputs],
        "outputs": [_shown(output) for output in manifest.signature.outputs],
        "classes": list(manifest.signature.classes) if manifest.signature.classes is not None else None,
        "hyperparameters": manifest.hyperparameters,
        "lineage": document_of(graph),
        "mermaid": as_mermaid(graph),
        "history": [
            {"at": _time(move.at), **{name: move._mapping[name] for name in _MOVE}}
            for move in stages.history(connection, model_id, version=row.version, limit=MAX_MOVES)
        ],
        "approvals": _newest(connection, approvals, row, ("stage", "decision", "actor", "comment")),
        "checks": _newest(connection, checks, row, ("name", "passed", "detail", "actor")),
        "controls": _controls(connection, model_id),
        "signatures": _signatures(connection, row),
        "integrity": {
            "content_digest": row.content_digest,
            "manifest_digest": row.manifest_digest,
            "size_bytes": row.size_bytes,
            "bytes_dropped_at": _time(row.bytes_dropped_at) if row.bytes_dropped_at is not None else None,
            "files": [file.model_dump() for file in manifest.files],
        },
        "call": {"path": "/mlops/predict", "body": {"model_id": model_id, "input": example_of(manifest.signature)}},
    }


def document_of(graph: Graph) -> dict[str, Any]:
    """A lineage graph as JSON."""
    return {
        "root": graph.root,
        "complete": graph.complete,
        "nodes": [asdict(node) for node in graph.nodes.values()],
        "edges": [asdict(edge) for edge in graph.edges.values()],
    }


def example_of(signature: Signature) -> dict[str, Any]:
    """One input that the model takes: the least value of each range, the first of its categories."""
    return {feature.name: _filled(feature.shape, _example(feature)) for feature in signature.inputs}


_MOVE = ("from_stage", "to_stage", "actor", "comment", "replaced_version")


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _metrics(connection: sa.Connection, row: Row, manifest: Manifest) -> list[dict[str, Any]]:
    """Every metric beside that of the parent."""
    mine = (versions.c.model_id == row.model_id) & (versions.c.version == (row.parent_version or ""))
    text = connection.execute(sa.select(versions.c.manifest).where(mine)).scalar()
    before = Manifest.model_validate(json.loads(text)) if text is not None else None
    beside = before if before is not None else manifest.model_copy(update={"metrics": {}})
    return [
        {"name": each.name, "value": each.b, "parent": each.a, "delta": each.delta, "better": each.better == "b"}
        | {"worse": each.better == "a"}
        for each in compare(beside, manifest).metrics
        if each.name in manifest.metrics
    ]


def _data(manifest: Manifest, baseline: Baseline | None) -> dict[str, Any]:
    found: dict[str, Any] = {"dataset_digest": manifest.lineage.dataset_digest, "rows": None, "features": []}
    if baseline is None:
        return found
    names = ("name", "kind", "mean", "std", "minimum", "maximum")
    return found | {
        "rows": baseline.rows,
        "features": [
            {name: getattr(each, name) for name in names}
            | {"missing": each.missing / each.rows if each.rows else None, "categories": _top(each.categories)}
            for each in baseline.features
        ],
    }


def _top(categories: Iterable[str] | None) -> list[str] | None:
    return None if categories is None else list(categories)[:10]


def _shown(described: Any) -> dict[str, Any]:
    document: dict[str, Any] = described.model_dump(mode="json", exclude_defaults=True)
    return document


def _newest(connection: sa.Connection, table: sa.Table, row: Row, names: tuple[str, ...]) -> list[dict[str, Any]]:
    mine = (table.c.model_id == row.model_id) & (table.c.version == row.version)
    found = connection.execute(sa.select(table).where(mine).order_by(table.c.seq.desc()).limit(MAX_MOVES))
    return [{"at": _time(each.at), **{name: each._mapping[name] for name in names}} for each in found]


def _controls(connection: sa.Connection, model_id: str) -> list[dict[str, Any]]:
    found = sa.select(controls).where(controls.c.model_id == model_id).order_by(controls.c.control_id)
    return [{"control_id": each.control_id, **json.loads(each.document)} for each in connection.execute(found)]


def _signatures(connection: sa.Connection, row: Row) -> list[dict[str, Any]]:
    mine = (signatures.c.model_id == row.model_id) & (signatures.c.version == row.version)
    columns = (signatures.c.key_sha256, signatures.c.at, signers.c.name, signers.c.revoked_at)
    query = sa.select(*columns).outerjoin(signers, signers.c.key_sha256 == signatures.c.key_sha256).where(mine)
    return [
        {
            "signer": each.name,
            "key_sha256": each.key_sha256,
            "at": _time(each.at),
            "revoked": each.revoked_at is not None,
        }
        for each in connection.execute(query.order_by(signatures.c.at))
    ]


def _example(feature: Feature) -> Any:
    if feature.categories:
        return feature.categories[0]
    if feature.dtype == "string":
        return "text"
    if feature.dtype == "bool":
        return False
    least = feature.minimum if feature.minimum is not None else 0
    return float(least) if feature.dtype.is_float else int(least)


def _filled(shape: tuple[int, ...], value: Any) -> Any:
    """Nested lists of one value, at most three of each axis: it is an example to read."""
    for size in reversed(shape):
        value = [value] * min(size, 3)
    return value
