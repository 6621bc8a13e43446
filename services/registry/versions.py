"""Models and their versions: registering and finding them. Functions over one transaction."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import Any

import sqlalchemy as sa

from schemas.envelope import Envelope
from schemas.events import ModelRegistered, Stage, VersionBytesReturned
from schemas.manifest import Manifest
from services.kernel.db import insert_in, unread
from services.kernel.errors import Conflict, NotFound
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.keeping import garbage
from services.registry.model import next_version, parse_version
from services.registry.search import index
from services.registry.search.text import models_with_words
from services.registry.tables import aliases, models, stage_moves, versions

NEWEST_FIRST = (versions.c.major.desc(), versions.c.minor.desc(), versions.c.patch.desc())

Row = Any
"""A row of `versions`, by name."""

# Statements of every registration are made once: making one takes longer than running it.
_OF_MODEL = versions.c.model_id == sa.bindparam("model")
_BY_VERSION = sa.select(versions).where(_OF_MODEL, versions.c.version == sa.bindparam("number"))
_IN_PRODUCTION = sa.select(versions.c.version).where(_OF_MODEL, versions.c.stage == Stage.PRODUCTION.value)
_STANDING = sa.select(
    sa.select(versions.c.version)
    .where(_OF_MODEL, versions.c.record_digest == sa.bindparam("digest"))
    .scalar_subquery()
    .label("known"),
    sa.select(versions.c.version).where(_OF_MODEL).order_by(*NEWEST_FIRST).limit(1).scalar_subquery().label("newest"),
    _IN_PRODUCTION.limit(1).scalar_subquery().label("production"),
)
_ADD_VERSION, _ADD_MOVE = versions.insert(), stage_moves.insert().inline()  # nobody asks for the move's number


@dataclass(frozen=True)
class Origin:
    """What is known of a version that comes from another registry.

    `comment` is the first in its history here, `manifest` the text of its `manifest.json`, byte by byte.
    """

    comment: str
    parent_version: str | None
    manifest: str


class BytesGivenUp(Conflict):
    """This is a version whose files the retention policy gave up: they come back with the manifest that it has.

    `manifest` are the bytes of that one as far as the record has them, `manifest_digest` says whether that is all.
    """

    def __init__(self, detail: str, manifest: bytes, manifest_digest: str) -> None:
        super().__init__(detail)
        self.manifest = manifest
        self.manifest_digest = manifest_digest


def record_digest(manifest: Manifest) -> str:
    """SHA-256 (hex) of the whole record but for the time at which it was made: the same registration twice has one."""
    document = json.loads(manifest.model_dump_json(exclude={"created_at"}))
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def register(
    uow: UnitOfWork,
    manifest: Manifest,
    *,
    manifest_digest: str,
    artifact: str,
    actor: str,
    version: str | None = None,
    cause: Envelope | None = None,
    origin: Origin | None = None,
) -> tuple[Row, bool]:
    """Give a verified version that lies under `artifact` its number: (its row, whether it is new).

    The same record again is the version that it was; one whose files the retention policy gave up has them again.
    Raises `Conflict` when `version` holds something else, or this record is registered under another number than the
    one asked for, `BytesGivenUp`, and `garbage.BeingCollected`: store it again.
    """
    connection, model_id = uow.connection, manifest.model_id
    revision = uow.next_revision("model", model_id)
    now = uow.now()
    _ensure_model(connection, manifest, now.timestamp())
    digest = record_digest(manifest)
    standing = connection.execute(_STANDING, {"model": model_id, "digest": digest}).one()
    known = _known(connection, model_id, digest, standing.known, version)
    if known is not None:
        if known.bytes_dropped_at is not None:
            _take_back(uow, known, manifest, manifest_digest, artifact, actor=actor, revision=revision)
        return known, False
    if version is None:
        newest = parse_version(standing.newest) if standing.newest else None
        version = next_version(newest, now.date())
    major, minor, patch = parse_version(version)
    parent = manifest.lineage.parent_version or (origin.parent_version if origin else standing.production)
    seq = audit.record(uow, actor, "model.registered", f"{model_id}:{version}", manifest_digest=manifest_digest)
    garbage.rescue(connection, (file.sha256 for file in manifest.files), artifact)
    row = {
        "model_id": model_id,
        "version": version,
        "seq": seq,
        "major": major,
        "minor": minor,
        "patch": patch,
        "stage": Stage.DRAFT.value,
        "stage_since": now.timestamp(),
        "artifact": artifact,
        "manifest": origin.manifest if origin else manifest.to_bytes().decode(),
        "manifest_digest": manifest_digest,
        "content_digest": manifest.content_digest,
        "record_digest": digest,
        "size_bytes": sum(file.size for file in manifest.files),
        "parent_version": parent,
        "registered_at": now.timestamp(),
        "registered_by": actor,
        "framework": manifest.framework,
        "description": manifest.description,
        "changes": manifest.changes,
        "tags": json.dumps(manifest.tags, sort_keys=True),
        "job_id": manifest.lineage.job_id,
        "experiment_id": manifest.lineage.experiment_id,
        "dataset_digest": manifest.lineage.dataset_digest,
        "bytes_dropped_at": None,
    }
    with unread(connection):
        connection.execute(_ADD_VERSION, row)
        garbage.add_holder(connection, artifact, (file.sha256 for file in manifest.files))
        index.add(
            connection,
            seq,
            model_id=model_id,
            model_name=manifest.model_name,
            metrics=manifest.metrics,
            description=manifest.description,
            changes=manifest.changes,
            tags=manifest.tags,
        )
        connection.execute(
            _ADD_MOVE,
            {
                "model_id": model_id,
                "version": version,
                "from_stage": None,
                "to_stage": Stage.DRAFT.value,
                "at": now.timestamp(),
                "actor": actor,
                "comment": origin.comment if origin else "registered",
            },
        )
    uow.publish(
        ModelRegistered(
            model_id=model_id,
            version=version,
            artifact=artifact,
            manifest_digest=manifest_digest,
            content_digest=manifest.content_digest,
            metrics=manifest.metrics,
            parent_version=parent,
            job_id=manifest.lineage.job_id,
            experiment_id=manifest.lineage.experiment_id,
            cycle_id=manifest.lineage.cycle_id,
        ),
        revision=revision,
        cause=cause,
    )
    return SimpleNamespace(**row), True


def find_model(connection: sa.Connection, model_id: str) -> Row:
    """The model's row. Raises `NotFound`."""
    row = connection.execute(sa.select(models).where(models.c.id == model_id)).first()
    if row is None:
        raise NotFound(f"there is no model {model_id!r}")
    return row


def find_version(connection: sa.Connection, model_id: str, version: str) -> Row:
    """The row of a version, which may be named by an alias too (`@champion`). Raises `NotFound`."""
    if version.startswith("@"):
        version = _aliased(connection, model_id, version[1:])
    row = connection.execute(_BY_VERSION, {"model": model_id, "number": version}).first()
    if row is None:
        find_model(connection, model_id)
        raise NotFound(f"model {model_id!r} has no version {version}")
    return row


def refuse_without_bytes(row: Row) -> None:
    """Raise `Conflict` for a version whose files the retention policy gave up: it can neither move on nor serve."""
    if row.bytes_dropped_at is not None:
        raise Conflict(
            f"the retention policy gave up the files of version {row.version}: take a version that has them, or "
            "register it anew"
        )


def _aliased(connection: sa.Connection, model_id: str, alias: str) -> str:
    query = sa.select(aliases.c.version).where(aliases.c.model_id == model_id, aliases.c.alias == alias)
    version = connection.execute(query).scalar()
    if version is None:
        find_model(connection, model_id)
        raise NotFound(f"model {model_id!r} has no alias {alias!r}: `trimtab models alias {model_id}` lists them")
    return str(version)


def production_version(connection: sa.Connection, model_id: str) -> str | None:
    """The version that is in production now, or None."""
    return connection.execute(_IN_PRODUCTION, {"model": model_id}).scalar()


def list_versions(
    connection: sa.Connection, model_id: str, *, before: tuple[int, int, int] | None, limit: int
) -> Sequence[Row]:
    """Up to `limit` versions older than `before`, newest first."""
    query = sa.select(versions).where(versions.c.model_id == model_id).order_by(*NEWEST_FIRST).limit(limit)
    if before is not None:
        query = query.where(sa.tuple_(versions.c.major, versions.c.minor, versions.c.patch) < sa.tuple_(*before))
    return connection.execute(query).all()


def list_models(
    connection: sa.Connection,
    *,
    name: str | None = None,
    text: str = "",
    stage: Stage | None = None,
    prefixes: Sequence[str] = (),
    after: str | None = None,
    limit: int = 100,
) -> Sequence[Row]:
    """Up to `limit` models after the id `after`, by id.

    `name` is part of the id or the name, whatever the case; `text` are words of a version of it; `stage` is one that a
    version of the model has; `prefixes` are those that an id may begin with.
    """
    query = sa.select(models).order_by(models.c.id).limit(limit)
    if after is not None:
        query = query.where(models.c.id > after)
    if name:
        query = query.where(
            models.c.id.icontains(name, autoescape=True) | models.c.name.icontains(name, autoescape=True)
        )
    described = models_with_words(connection.dialect.name, text)
    if described is not None:
        query = query.where(models.c.id.in_(described))
    if stage is not None:
        here = (versions.c.model_id == models.c.id) & (versions.c.stage == stage.value)
        query = query.where(sa.exists().where(here))
    if prefixes:
        query = query.where(sa.or_(*(sa.func.substr(models.c.id, 1, len(prefix)) == prefix for prefix in prefixes)))
    return connection.execute(query).all()


def leading_versions(connection: sa.Connection, model_ids: Sequence[str]) -> Sequence[Row]:
    """Of each model the newest version and the one in production: model_id, version, stage, times, total."""
    mine = versions.alias("mine")
    of_model = mine.c.model_id == models.c.id
    order = (mine.c.major.desc(), mine.c.minor.desc(), mine.c.patch.desc())
    newest = sa.select(mine.c.version).where(of_model).order_by(*order).limit(1).scalar_subquery()
    total = sa.select(sa.func.count()).select_from(mine).where(of_model).scalar_subquery()
    page = (
        sa.select(models.c.id, newest.label("newest"), total.label("total"))
        .where(models.c.id.in_(model_ids))
        .subquery()
    )
    columns = [versions.c[name] for name in ("model_id", "version", "stage", "stage_since", "registered_at")]
    is_newest = versions.c.version == page.c.newest
    first = sa.select(*columns, page.c.total).join(page, (versions.c.model_id == page.c.id) & is_newest)
    in_production = sa.select(*columns, page.c.total).join(
        page,
        (versions.c.model_id == page.c.id) & (versions.c.stage == Stage.PRODUCTION.value) & ~is_newest,
    )
    return [*connection.execute(first), *connection.execute(in_production)]


def _ensure_model(connection: sa.Connection, manifest: Manifest, now: float) -> None:
    values = {"name": manifest.model_name, "model_type": manifest.model_type}
    statement = _ensure(connection.dialect.name, tuple(name for name, value in values.items() if value))
    connection.execute(statement, {"id": manifest.model_id, "created_at": now, **values})


@cache
def _ensure(dialect: str, given: tuple[str, ...]) -> sa.Executable:
    """Adds a model, or gives it what is `given` of its name and type."""
    insert = insert_in(dialect, models)
    if not given:
        return insert.on_conflict_do_nothing()
    return insert.on_conflict_do_update(index_elements=["id"], set_={name: insert.excluded[name] for name in given})


def _known(connection: sa.Connection, model_id: str, digest: str, known: str | None, asked: str | None) -> Row | None:
    """The row of the version that is this record already (`known`), or None. Raises `Conflict`, see `register`."""
    if asked is not None:
        taken = connection.execute(_BY_VERSION, {"model": model_id, "number": asked}).first()
        if taken is not None and taken.record_digest != digest:
            raise Conflict(f"version {asked} of {model_id} exists and holds something else: versions never change")
        if taken is not None:
            return taken
    if known is not None and asked is not None:
        raise Conflict(
            f"this record is version {known} of {model_id} already, not {asked}: give it another description to "
            "have the same files under both numbers"
        )
    return find_version(connection, model_id, known) if known is not None else None


def _take_back(
    uow: UnitOfWork, row: Row, manifest: Manifest, manifest_digest: str, artifact: str, *, actor: str, revision: int
) -> None:
    """The files that the retention policy gave up are there again. The version's days in the archive begin anew."""
    if row.manifest_digest != manifest_digest:
        raise BytesGivenUp(
            f"the files of version {row.version} of {row.model_id} were given up, and came with another manifest: "
            "register it with another description, as a new version",
            row.manifest.encode(),
            row.manifest_digest,
        )
    mine = (versions.c.model_id == row.model_id) & (versions.c.version == row.version)
    now = uow.now().timestamp()
    uow.connection.execute(
        versions.update().where(mine).values(bytes_dropped_at=None, artifact=artifact, stage_since=now)
    )
    garbage.hold(uow.connection, artifact, (file.sha256 for file in manifest.files))
    audit.record(uow, actor, "version.bytes-returned", f"{row.model_id}:{row.version}", size_bytes=row.size_bytes)
    uow.publish(
        VersionBytesReturned(
            model_id=row.model_id, version=row.version, artifact=artifact, size_bytes=row.size_bytes, actor=actor
        ),
        revision=revision,
    )
