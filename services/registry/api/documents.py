"""What the registry's routes answer about models, versions and their moves."""

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from pydantic import Field

from schemas.base import Document, JsonValue, Measured, Name, StrictDocument, UtcTime, Version
from schemas.events import DeploymentWanted, Stage
from schemas.features import Signature
from schemas.manifest import BASELINE_NAME, Lineage, Manifest, ManifestFile
from services.registry.api.parts import time_of
from services.registry.words import Words


class VersionBrief(Document):
    """One version in a list."""

    version: Version
    stage: Stage
    stage_since: UtcTime
    registered_at: UtcTime


class ModelBrief(Document):
    """One model in a list."""

    model_id: Name
    model_name: str
    model_type: str
    created_at: UtcTime
    versions: int
    latest: VersionBrief
    production: VersionBrief | None
    aliases: dict[Name, Version]


class ModelPage(Document):
    """A page of models, by id."""

    models: list[ModelBrief]
    next_cursor: str | None


class VersionDocument(Document):
    """Everything known about one version. With `bytes_dropped_at` its files were given up by the retention policy."""

    model_id: Name
    model_name: str
    model_type: str
    version: Version
    aliases: tuple[Name, ...]
    stage: Stage
    stage_since: UtcTime
    framework: str
    metrics: dict[str, Measured]
    hyperparameters: dict[str, JsonValue]
    lineage: Lineage
    parent_version: Version | None
    signature: Signature
    description: str
    changes: str
    tags: dict[str, str]
    artifact: str
    manifest_digest: str
    content_digest: str
    size_bytes: int
    files: tuple[ManifestFile, ...]
    has_baseline: bool
    created_at: UtcTime
    registered_at: UtcTime
    registered_by: str
    bytes_dropped_at: UtcTime | None


class Refusal(Document):
    """A trained model that was not registered, and why."""

    job_id: Name
    artifact: str
    error: str
    at: UtcTime


class ModelDocument(Document):
    """A model, its versions (newest first, a page of them), its deployment and what was refused lately."""

    model_id: Name
    model_name: str
    model_type: str
    created_at: UtcTime
    production_version: Version | None
    aliases: dict[Name, Version]
    versions: list[VersionDocument]
    next_cursor: str | None
    deployment: DeploymentWanted | None
    refused: list[Refusal]


class Promotion(StrictDocument):
    """Where to move a version, and why. `changes`: what is different from its parent, if it does not say so yet."""

    stage: Stage
    comment: Words = Field(default="", max_length=2000)
    changes: Words | None = Field(default=None, max_length=20_000)


class Comment(StrictDocument):
    """Why."""

    comment: Words = Field(default="", max_length=2000)


class Moved(Document):
    """What a move did. `deployment_revision` is set when it ended a canary; `unmet` are the gates that a rollback went
    past; `deployed_versions` get the traffic now, where the version that is in production gets none of it."""

    model_id: Name
    version: Version
    from_stage: Stage
    stage: Stage
    replaced_version: Version | None
    deployment_revision: int | None
    unmet: tuple[str, ...] = ()
    deployed_versions: tuple[Version, ...] = ()


class MoveDocument(Document):
    """One entry of the history; without `from_stage` it is the registration."""

    version: Version
    from_stage: Stage | None
    to_stage: Stage
    at: UtcTime
    actor: str
    comment: str
    replaced_version: Version | None


class History(Document):
    """A page of moves, newest first."""

    model_id: Name
    history: list[MoveDocument]
    next_cursor: str | None


class ProductionAt(Document):
    """What was in production at a time, and the move that brought it there."""

    model_id: Name
    at: UtcTime
    production_version: Version | None
    move: MoveDocument | None


def version_document(
    row: sa.Row[Any], aliases: Sequence[str] = (), manifest: Manifest | None = None
) -> VersionDocument:
    """The document of a version's row, and the names that point to it; `manifest`: the row's, where it is at hand."""
    if manifest is None:
        manifest = Manifest.model_validate(json.loads(row.manifest))
    return VersionDocument(
        model_id=row.model_id,
        model_name=manifest.model_name,
        model_type=manifest.model_type,
        version=row.version,
        aliases=tuple(aliases),
        stage=row.stage,
        stage_since=time_of(row.stage_since),
        framework=manifest.framework,
        metrics=manifest.metrics,
        hyperparameters=manifest.hyperparameters,
        lineage=manifest.lineage,
        parent_version=row.parent_version,
        signature=manifest.signature,
        description=row.description,
        changes=row.changes,
        tags=json.loads(row.tags),
        artifact=row.artifact,
        manifest_digest=row.manifest_digest,
        content_digest=row.content_digest,
        size_bytes=row.size_bytes,
        files=manifest.files,
        has_baseline=any(file.path == BASELINE_NAME for file in manifest.files),
        created_at=manifest.created_at,
        registered_at=time_of(row.registered_at),
        registered_by=row.registered_by,
        bytes_dropped_at=time_of(row.bytes_dropped_at) if row.bytes_dropped_at is not None else None,
    )


class _Recorded(msgspec.Struct, gc=False):
    """What is shown of a manifest. Its long parts stay the JSON text that they are: nobody reads them on the way.

    A name may stand twice in a text that another wrote. The last counts; before it anything may stand, so that no type
    is asked for here.
    """

    framework: msgspec.Raw
    files: msgspec.Raw
    signature: msgspec.Raw
    created_at: msgspec.Raw
    model_name: msgspec.Raw = msgspec.Raw(b'""')
    model_type: msgspec.Raw = msgspec.Raw(b'""')
    metrics: msgspec.Raw = msgspec.Raw(b"{}")
    hyperparameters: msgspec.Raw = msgspec.Raw(b"{}")
    lineage: Any = {}


class _File(msgspec.Struct, gc=False):
    path: Any


_RECORDED, _FILES = msgspec.json.Decoder(_Recorded), msgspec.json.Decoder(list[_File])


def version_fields(row: sa.Row[Any], aliases: Sequence[str] = ()) -> dict[str, Any]:
    """The members of `version_document(row, aliases)`, for `msgspec.json.encode`.

    The manifest was checked when it was registered; this, which everybody reads, does not check it again.
    """
    manifest = _RECORDED.decode(row.manifest)
    return {
        "model_id": row.model_id,
        "model_name": manifest.model_name,
        "model_type": manifest.model_type,
        "version": row.version,
        "aliases": aliases,
        "stage": row.stage,
        "stage_since": time_of(row.stage_since),
        "framework": manifest.framework,
        "metrics": manifest.metrics,
        "hyperparameters": manifest.hyperparameters,
        "lineage": _NO_LINEAGE | manifest.lineage,
        "parent_version": row.parent_version,
        "signature": manifest.signature,
        "description": row.description,
        "changes": row.changes,
        "tags": msgspec.Raw(row.tags.encode()),
        "artifact": row.artifact,
        "manifest_digest": row.manifest_digest,
        "content_digest": row.content_digest,
        "size_bytes": row.size_bytes,
        "files": manifest.files,
        "has_baseline": any(file.path == BASELINE_NAME for file in _FILES.decode(manifest.files)),
        "created_at": manifest.created_at,
        "registered_at": time_of(row.registered_at),
        "registered_by": row.registered_by,
        "bytes_dropped_at": time_of(row.bytes_dropped_at) if row.bytes_dropped_at is not None else None,
    }


_NO_LINEAGE = Lineage().model_dump()


def model_brief(row: sa.Row[Any], leading: list[sa.Row[Any]], aliases: dict[str, str]) -> ModelBrief:
    """A model with its newest version, the one in production, and its aliases (name -> version)."""
    production = next((version for version in leading if version.stage == Stage.PRODUCTION.value), None)
    return ModelBrief(
        model_id=row.id,
        model_name=row.name,
        model_type=row.model_type,
        created_at=time_of(row.created_at),
        versions=leading[0].total,
        latest=version_brief(leading[0]),
        production=version_brief(production) if production is not None else None,
        aliases=aliases,
    )


def version_brief(row: sa.Row[Any]) -> VersionBrief:
    """A version in a list."""
    return VersionBrief(
        version=row.version,
        stage=row.stage,
        stage_since=time_of(row.stage_since),
        registered_at=time_of(row.registered_at),
    )


def move_document(row: sa.Row[Any]) -> MoveDocument:
    """One entry of the history."""
    return MoveDocument(
        version=row.version,
        from_stage=row.from_stage,
        to_stage=row.to_stage,
        at=time_of(row.at),
        actor=row.actor,
        comment=row.comment,
        replaced_version=row.replaced_version,
    )
