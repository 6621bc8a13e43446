"""What may be written about a version after its registration: description, changes, tags.

The manifest keeps what was said at first, and every digest with it; the version's row holds what is said now.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from schemas.events import VersionAnnotated
from services.kernel.errors import InvalidInput, PreconditionFailed
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.labels import MAX_TAGS
from services.registry.search import index
from services.registry.tables import versions
from services.registry.versions import Row, find_version


def fingerprint(row: Row) -> str:
    """What `If-Match` compares: 16 hexadecimal digits of the SHA-256 of the annotations."""
    said = json.dumps([row.description, row.changes, json.loads(row.tags)], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


def text_sha256(row: Row) -> str:
    """SHA-256 (hex) of what a person reads before approving a version: its description and its changes."""
    return hashlib.sha256(json.dumps([row.description, row.changes]).encode()).hexdigest()


def annotate(
    uow: UnitOfWork,
    model_id: str,
    version: str,
    *,
    description: str | None = None,
    changes: str | None = None,
    tags: Mapping[str, str | None] | None = None,
    actor: str,
    expected: str | None = None,
) -> Row:
    """Write what is given; `tags` are merged with those there are, and one that is None is removed. The new row.

    Saying what is said already changes nothing. Raises `NotFound`, `InvalidInput` (too many tags), and
    `PreconditionFailed` when the annotations do not have the fingerprint `expected`.
    """
    connection = uow.connection
    revision = uow.next_revision("model", model_id)
    row = find_version(connection, model_id, version)
    if expected is not None and expected != fingerprint(row):
        raise PreconditionFailed(f"the annotations of {model_id} {row.version} are others by now: read them again")
    before: dict[str, Any] = {"description": row.description, "changes": row.changes, "tags": json.loads(row.tags)}
    merged = {**before["tags"], **(tags or {})}
    after: dict[str, Any] = {
        "description": before["description"] if description is None else description,
        "changes": before["changes"] if changes is None else changes,
        "tags": {name: value for name, value in merged.items() if value is not None},
    }
    if len(after["tags"]) > max(MAX_TAGS, len(before["tags"])):
        raise InvalidInput(f"a version has at most {MAX_TAGS} tags: remove some first")
    if after == before:
        return row
    mine = (versions.c.model_id == model_id) & (versions.c.version == row.version)
    values = {**after, "tags": json.dumps(after["tags"], sort_keys=True)}
    connection.execute(versions.update().where(mine).values(**values))
    name = json.loads(row.manifest).get("model_name", "")
    index.annotate(connection, row.seq, model_id=model_id, model_name=name, **after)
    changed = [member for member in after if after[member] != before[member]]
    audit.record(
        uow,
        actor,
        "model.annotated",
        f"{model_id}:{row.version}",
        before={member: before[member] for member in changed},
        after={member: after[member] for member in changed},
    )
    uow.publish(VersionAnnotated(model_id=model_id, version=row.version, **after, actor=actor), revision=revision)
    return connection.execute(sa.select(versions).where(mine)).one()
