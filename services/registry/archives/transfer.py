"""Versions that leave for another registry, and those that come from one. Functions over one transaction."""

import json
from datetime import UTC, datetime

import sqlalchemy as sa

from schemas.manifest import Manifest
from services.kernel import signatures as crypto
from services.kernel.errors import Conflict
from services.kernel.uow import UnitOfWork
from services.registry import aliases, annotations, audit, stages, versions
from services.registry.archives.archive import MAX_MOVES, MAX_SIGNATURES, MoveRecord, SignatureRecord, VersionRecord
from services.registry.archives.archive_reader import Arrived
from services.registry.keeping import signing
from services.registry.versions import Origin


def departing(
    connection: sa.Connection, model_id: str, version: str
) -> tuple[versions.Row, VersionRecord, list[tuple[str, bytes]]]:
    """The row of a version, its record for an archive, and its signatures (key, bundle), the newest last.

    Raises `NotFound`, and `Conflict` for a version whose files were given up.
    """
    row = versions.find_version(connection, model_id, version)
    if row.bytes_dropped_at is not None:
        raise Conflict(f"version {row.version} has no files any more: the retention policy gave them up")
    moves = stages.history(connection, model_id, version=row.version, limit=MAX_MOVES)
    signed = signing.signatures_of(connection, model_id, row.version)[-MAX_SIGNATURES:]
    record = VersionRecord(
        model_id=model_id,
        version=row.version,
        manifest_digest=row.manifest_digest,
        content_digest=row.content_digest,
        size_bytes=row.size_bytes,
        registered_at=_time(row.registered_at),
        registered_by=row.registered_by,
        parent_version=row.parent_version,
        stage=row.stage,
        stage_since=_time(row.stage_since),
        description=row.description,
        changes=row.changes,
        tags=json.loads(row.tags),
        aliases=tuple(aliases.aliases_of(connection, model_id, row.version)),
        history=tuple(
            MoveRecord(
                from_stage=move.from_stage,
                to_stage=move.to_stage,
                at=_time(move.at),
                actor=move.actor,
                comment=move.comment,
                replaced_version=move.replaced_version,
            )
            for move in reversed(moves)
        ),
        signatures=tuple(
            SignatureRecord(key_sha256=each.key_sha256, signer=each.name, signed_at=_time(each.at)) for each in signed
        ),
    )
    return row, record, [(each.key_sha256, each.bundle.encode()) for each in signed]


def arriving(uow: UnitOfWork, arrived: Arrived, manifest_digest: str, artifact: str, *, actor: str) -> bool:
    """Register the version of an archive, whose manifest lies under `artifact`, as a draft; whether it is new.

    Its number, manifest and annotations are kept; where it was before becomes a comment in its history and a row of
    the audit trail. Raises `Conflict` when the number holds something else.
    """
    record, manifest = arrived.record, arrived.manifest
    row, created = versions.register(
        uow,
        manifest,
        manifest_digest=manifest_digest,
        artifact=artifact,
        actor=actor,
        version=record.version,
        origin=Origin(record.origin, record.parent_version, arrived.manifest_bytes.decode()),
    )
    if not created:
        return False
    annotations.annotate(
        uow,
        manifest.model_id,
        row.version,
        description=record.description,
        changes=record.changes,
        tags={**dict.fromkeys(manifest.tags), **record.tags},
        actor=actor,
    )
    audit.record(
        uow,
        actor,
        "model.imported",
        f"{manifest.model_id}:{row.version}",
        **record.model_dump(mode="json", include={"registered_at", "registered_by", "stage", "stage_since"}),
        aliases=list(record.aliases),
        history=[move.model_dump(mode="json") for move in record.history],
    )
    return True


def keep_signatures(uow: UnitOfWork, arrived: Arrived, *, actor: str) -> tuple[list[str], list[str]]:
    """Keep those signatures of an archive whose keys are trusted here: (signers kept, keys passed over).

    A signature is that of one manifest: where the same record has another one here (it was made at another time), all
    are passed over. Raises `signatures.BadSignature` when a trusted key is named, by the bundle or by its file in the
    archive, that did not make the signature. What an unknown key is called is the archive's word alone.
    """
    row = here(uow.connection, arrived.record)
    if row.manifest_digest != arrived.record.manifest_digest:
        return [], sorted(arrived.signatures)
    kept, passed_over = [], []
    trusted = {crypto.hint_of(each.public_key): each for each in signing.list_signers(uow.connection)}
    names = {each.key_sha256 for each in trusted.values()}
    for key, bundle in sorted(arrived.signatures.items()):
        signer = trusted.get(crypto.hint_in(bundle))
        if signer.key_sha256 != key if signer is not None else key in names:
            raise crypto.BadSignature(f"signatures/{key}.sig was not made by the key that its name gives")
        if signer is None or signer.revoked_at is not None:
            passed_over.append(key)
            continue
        signing.add(uow, row.model_id, row.version, bundle, arrived.manifest_bytes, actor=actor)
        kept.append(signer.name)
    return kept, passed_over


def here(connection: sa.Connection, record: VersionRecord) -> versions.Row:
    """The row here of a version that an archive holds and this registry has."""
    return versions.find_version(connection, record.model_id, record.version)


def same_rules(manifest: Manifest) -> dict[str, object]:
    """What an upload would have to say for `manifest`: checked by the same rules, which no archive goes round."""
    document = manifest.model_dump(mode="json", exclude={"files", "content_digest", "metrics"})
    finite = {name: value for name, value in manifest.metrics.items() if value - value == 0}
    return {**document, "metrics": finite}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
