"""What the store holds for nothing: the rows by which it is found and taken away. Functions over one transaction.

`blob_holders` says which manifest names which bytes: a row for every file of every version whose bytes are kept, and of
every complete folder under `models/` that is no version (yet). The smaller graphs that a version was deployed by have
rows as well (`quantized_holder`). What nothing holds, and is older than the grace, is
condemned; a later pass claims it, which only succeeds while still nothing holds it, and then removes it.

Whoever begins to use bytes calls `rescue_first` before they and their manifest are stored, and `rescue` in the
transaction that names them. It deletes the condemnation, or, once the bytes are claimed, raises `BeingCollected`: they
may be gone at any moment, so they must be stored once more. The row's lock decides which of the two comes first.
`services.registry.keeping.collector` is the pass itself.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

from services.kernel.artifacts import blob_key
from services.kernel.db import Database, insert_in, insert_into
from services.kernel.errors import Unavailable
from services.registry.handlers import PENDING
from services.registry.tables import blob_holders, condemned, registrations, versions

VERSIONS = "models"
"""The folder of the store that holds manifests; `models/<model id>/<upload or job>` is one unit of it."""
UNIT_PARTS = 3

CHUNK = 500
"""Keys in one query."""

Row = sa.Row[Any]

_NAMED = condemned.c.key.in_(sa.bindparam("keys", expanding=True))
_LOCKED = sa.select(condemned.c.key, condemned.c.claimed_at).where(_NAMED).with_for_update()
_ANY = sa.select(condemned.c.key).where(_NAMED).limit(1)


class BeingCollected(Unavailable):
    """These bytes are being removed as garbage right now: store them again, then register."""

    code = "being-collected"


def unit_of(artifact: str) -> str:
    """What is kept or removed as a whole: the first three parts of a prefix.

    >>> unit_of("models/threats/job-1.1/deeper")
    'models/threats/job-1.1'
    """
    return "/".join(artifact.split("/")[:UNIT_PARTS])


def quantized_holder(model_id: str, version: str) -> str:
    """In whose name the smaller graphs of a version are held. No upload or job has it: their names begin with no dot.

    >>> quantized_holder("threats", "1.0.20240614")
    'models/threats/.quantized/1.0.20240614'
    """
    return f"{VERSIONS}/{model_id}/.quantized/{version}"


def rescue(connection: sa.Connection, digests: Iterable[str], artifact: str | None = None) -> None:
    """Condemn these bytes, and the unit of `artifact`, no longer. Raises `BeingCollected` when it is too late."""
    for some in _chunks(_keys(digests, artifact)):
        rows = connection.execute(_LOCKED, {"keys": some}).all()
        claimed = [row.key for row in rows if row.claimed_at is not None]
        if claimed:
            raise BeingCollected(f"{claimed[0]} is being removed as garbage right now: send the version again")
        if rows:
            connection.execute(condemned.delete().where(condemned.c.key.in_([row.key for row in rows])))


async def rescue_first(db: Database, digests: Iterable[str], artifact: str | None = None) -> None:
    """`rescue` before bytes are stored: whatever is there afterwards can't be claimed for a grace.

    Costs a look-up where nothing is condemned. Raises `BeingCollected`.
    """
    named = list(digests)
    if await db.read(lambda connection: any_condemned(connection, named, artifact)):
        await db.write(lambda connection: rescue(connection, named, artifact))


def any_condemned(connection: sa.Connection, digests: Iterable[str], artifact: str | None = None) -> bool:
    """Whether `rescue` has something to do."""
    keys = _keys(digests, artifact)
    return any(connection.execute(_ANY, {"keys": some}).first() is not None for some in _chunks(keys))


def hold(connection: sa.Connection, artifact: str, digests: Iterable[str]) -> None:
    """Say that the manifest under `artifact` names these bytes, and rescue them. Raises `BeingCollected`."""
    named = set(digests)
    rescue(connection, named, artifact)
    add_holder(connection, artifact, named)


def add_holder(connection: sa.Connection, artifact: str, digests: Iterable[str]) -> None:
    """Say that the manifest under `artifact` names these bytes, which were rescued in this transaction."""
    rows = [{"sha256": digest, "artifact": artifact} for digest in sorted(set(digests))]
    if rows:
        connection.execute(_hold(connection.dialect.name), rows)


@cache
def _hold(dialect: str) -> sa.Executable:
    return insert_in(dialect, blob_holders).on_conflict_do_nothing()


def let_go(connection: sa.Connection, artifacts: Iterable[str]) -> None:
    """The manifests under these prefixes are no more."""
    for some in _chunks(list(artifacts)):
        connection.execute(blob_holders.delete().where(blob_holders.c.artifact.in_(some)))


def held(connection: sa.Connection, digests: Sequence[str]) -> set[str]:
    """Those of `digests` that a manifest names."""
    found: set[str] = set()
    for some in _chunks(digests):
        query = sa.select(blob_holders.c.sha256).where(blob_holders.c.sha256.in_(some)).distinct()
        found.update(connection.execute(query).scalars())
    return found


def holders(connection: sa.Connection, digest: str) -> set[str]:
    """The prefixes of the manifests, and the other names, that hold these bytes."""
    query = sa.select(blob_holders.c.artifact).where(blob_holders.c.sha256 == digest)
    return set(connection.execute(query).scalars())


def named(connection: sa.Connection, prefixes: Sequence[str]) -> set[str]:
    """Those of `prefixes` that a version whose bytes are kept, or a registration that waits, names."""
    found: set[str] = set()
    for some in _chunks(prefixes):
        kept = (versions.c.artifact.in_(some)) & versions.c.bytes_dropped_at.is_(None)
        found.update(connection.execute(sa.select(versions.c.artifact).where(kept)).scalars())
        waits = registrations.c.artifact.in_(some) & (registrations.c.state == PENDING)
        found.update(connection.execute(sa.select(registrations.c.artifact).where(waits)).scalars())
    return found


def known(connection: sa.Connection, artifacts: Sequence[str]) -> set[str]:
    """Those of `artifacts` whose manifest has its rows in `blob_holders`."""
    found: set[str] = set()
    for some in _chunks(artifacts):
        query = sa.select(blob_holders.c.artifact).where(blob_holders.c.artifact.in_(some)).distinct()
        found.update(connection.execute(query).scalars())
    return found


def condemn(connection: sa.Connection, sizes: dict[str, int], now: float) -> list[str]:
    """Condemn these keys (key -> bytes) from `now` on; those that were not condemned before."""
    statement = insert_into(connection, condemned).values(
        [{"key": key, "size_bytes": size, "at": now, "claimed_at": None} for key, size in sizes.items()]
    )
    added = connection.execute(statement.on_conflict_do_nothing().returning(condemned.c.key))
    return list(added.scalars())


def due(connection: sa.Connection, condemned_before: float, claimed_before: float, after: str, limit: int) -> list[Row]:
    """What may be claimed now, by key: condemned long enough, or claimed by a process that died over it."""
    waited = condemned.c.claimed_at.is_(None) & (condemned.c.at <= condemned_before)
    left = condemned.c.claimed_at <= claimed_before
    query = sa.select(condemned.c.key, condemned.c.size_bytes).where(condemned.c.key > after, waited | left)
    return list(connection.execute(query.order_by(condemned.c.key).limit(limit)))


def claim(
    connection: sa.Connection, keys: Sequence[str], used: set[str], claimed_before: float, now: float
) -> list[str]:
    """Claim those of the due `keys` that are not `used`; the used ones are rescued. The caller looked up `used` in this
    transaction."""
    free = condemned.c.claimed_at.is_(None) | (condemned.c.claimed_at <= claimed_before)
    rows = connection.execute(
        sa.select(condemned.c.key).where(condemned.c.key.in_(keys), free).with_for_update(skip_locked=True)
    ).scalars()
    present = list(rows)
    spare(connection, [key for key in present if key in used])
    mine = [key for key in present if key not in used]
    connection.execute(condemned.update().where(condemned.c.key.in_(mine)).values(claimed_at=now))
    return mine


def spare(connection: sa.Connection, keys: Sequence[str]) -> None:
    """Forget a condemnation: the bytes are used, or gone."""
    if keys:
        connection.execute(condemned.delete().where(condemned.c.key.in_(keys)))


def waiting(connection: sa.Connection) -> tuple[int, int]:
    """How much is condemned: objects or folders, and bytes."""
    row = connection.execute(sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(condemned.c.size_bytes), 0))).one()
    return int(row[0]), int(row[1])


def _keys(digests: Iterable[str], artifact: str | None) -> list[str]:
    """What is condemned under these names: blobs, and the unit of a prefix."""
    return [blob_key(digest) for digest in digests] + ([unit_of(artifact)] if artifact else [])


def _chunks(keys: Sequence[str]) -> Iterable[Sequence[str]]:
    return (keys[start : start + CHUNK] for start in range(0, len(keys), CHUNK))
