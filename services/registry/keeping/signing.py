"""Trusted signers, and the signatures of versions. Functions over one transaction.

A signer is a public key with a name; several keys may have one name (an old and a new one). A revoked key stays so,
and every signature that it made counts no more. Signatures are checked before they are kept (`check`), and again by
`trimtab models verify`.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from schemas.events import SignerChanged, VersionSigned
from services.kernel import signatures as crypto
from services.kernel.db import insert_into
from services.kernel.errors import Conflict, NotFound
from services.kernel.uow import UnitOfWork
from services.registry import audit
from services.registry.governance.policies import EVERY_MODEL
from services.registry.tables import signatures, signers
from services.registry.versions import find_version

Row = sa.Row[Any]


def trust(uow: UnitOfWork, name: str, public_key: str, *, actor: str) -> tuple[str, bool]:
    """Trust a public key (PEM) under `name`: (its `key_sha256`, whether it is new).

    Raises `InvalidInput` for what is no key, and `Conflict` for a key of another name or one that was revoked.
    """
    pem, key_sha256 = crypto.public_key_of(public_key.encode())
    revision = uow.next_revision("model", EVERY_MODEL)
    row = find_signer(uow.connection, key_sha256)
    if row is not None:
        if row.revoked_at is not None:
            raise Conflict(f"this key was revoked and stays so: {name} needs a new one")
        if row.name != name:
            raise Conflict(f"this key is that of {row.name}: revoke it first, or use another")
        return key_sha256, False
    values = {"key_sha256": key_sha256, "name": name, "public_key": pem, "at": uow.now().timestamp(), "actor": actor}
    uow.connection.execute(signers.insert().values(**values, revoked_at=None))
    audit.record(uow, actor, "signer.trusted", name, key_sha256=key_sha256)
    uow.publish(SignerChanged(signer=name, key_sha256=key_sha256, trusted=True, actor=actor), revision=revision)
    return key_sha256, True


def revoke(uow: UnitOfWork, key_sha256: str, *, actor: str, reason: str = "") -> float:
    """Trust a key no more; when that was, in seconds since 1970. Raises `NotFound`."""
    revision = uow.next_revision("model", EVERY_MODEL)
    row = find_signer(uow.connection, key_sha256)
    if row is None:
        raise NotFound(f"there is no signer with the key {key_sha256}: `trimtab signers list` shows them")
    if row.revoked_at is not None:
        return float(row.revoked_at)
    now = uow.now().timestamp()
    uow.connection.execute(signers.update().where(signers.c.key_sha256 == key_sha256).values(revoked_at=now))
    audit.record(uow, actor, "signer.revoked", row.name, key_sha256=key_sha256, reason=reason)
    changed = SignerChanged(signer=row.name, key_sha256=key_sha256, trusted=False, reason=reason, actor=actor)
    uow.publish(changed, revision=revision)
    return now


def find_signer(connection: sa.Connection, key_sha256: str) -> Row | None:
    """The signer with this key, revoked or not."""
    return connection.execute(sa.select(signers).where(signers.c.key_sha256 == key_sha256)).first()


def list_signers(connection: sa.Connection) -> Sequence[Row]:
    """Every signer, the revoked ones included, oldest first."""
    return connection.execute(sa.select(signers).order_by(signers.c.at, signers.c.key_sha256)).all()


def check(connection: sa.Connection, bundle: bytes, manifest: bytes) -> Row:
    """The trusted signer who made `bundle` for the version with these `manifest.json` bytes.

    Raises `signatures.BadSignature` for every reason not to accept it; the sentence says which.
    """
    hint = crypto.hint_in(bundle)
    made_by = [row for row in list_signers(connection) if crypto.hint_of(row.public_key) == hint]
    if not made_by:
        raise crypto.BadSignature(
            "the signature was made with a key that nobody here trusts: an administrator adds it with "
            "`trimtab signers add NAME --public-key FILE`"
        )
    (row,) = made_by
    if row.revoked_at is not None:
        raise crypto.BadSignature(f"the key of {row.name} that made this signature was revoked: sign with another one")
    crypto.check(bundle, manifest, row.public_key)
    return row


def add(
    uow: UnitOfWork, model_id: str, version: str, bundle: bytes, manifest: bytes, *, actor: str
) -> tuple[Row, bool]:
    """Keep a signature of a version: the signer, and whether it is new. The same signer's newer one replaces the old.

    `manifest` are the stored bytes of its `manifest.json`, whose digest the caller has checked. Raises `NotFound` and
    `signatures.BadSignature`.
    """
    revision = uow.next_revision("model", model_id)
    row = find_version(uow.connection, model_id, version)
    signer = check(uow.connection, bundle, manifest)
    key = {"model_id": model_id, "version": row.version, "key_sha256": signer.key_sha256}
    text = bundle.decode()
    mine = sa.and_(*(signatures.c[name] == value for name, value in key.items()))
    known = uow.connection.execute(sa.select(signatures.c.bundle).where(mine)).scalar()
    if known == text:
        return signer, False
    values = {"bundle": text, "at": uow.now().timestamp(), "actor": actor}
    insert = insert_into(uow.connection, signatures).values(**key, **values)
    uow.connection.execute(insert.on_conflict_do_update(index_elements=list(key), set_=values))
    audit.record(uow, actor, "version.signed", f"{model_id}:{row.version}", **{**key, "signer": signer.name})
    uow.publish(
        VersionSigned(
            model_id=model_id, version=row.version, signer=signer.name, key_sha256=signer.key_sha256, actor=actor
        ),
        revision=revision,
    )
    return signer, True


def signatures_of(connection: sa.Connection, model_id: str, version: str) -> Sequence[Row]:
    """Every signature of a version, oldest first: key_sha256, bundle, at, actor, and its signer's name, public_key,
    revoked_at."""
    return connection.execute(
        sa.select(signatures, signers.c.name, signers.c.public_key, signers.c.revoked_at)
        .join(signers, signers.c.key_sha256 == signatures.c.key_sha256)
        .where(signatures.c.model_id == model_id, signatures.c.version == version)
        .order_by(signatures.c.at, signatures.c.key_sha256)
    ).all()


def signed_by(connection: sa.Connection, model_id: str, version: str) -> list[str]:
    """The names of those whose signatures of this version are valid now, ordered."""
    rows = signatures_of(connection, model_id, version)
    return sorted({row.name for row in rows if row.revoked_at is None})
