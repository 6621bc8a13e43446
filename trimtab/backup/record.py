"""`backup.json`: what a backup consists of. Written last, so that a folder without it, or with an old one, says so."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from schemas.base import Document, UtcTime
from trimtab.backup.errors import BackupUnusable

NAME = "backup.json"
FORMAT = 1
RUNS = "runs"
"""Folder of what every backup writes anew; the record names the one that counts."""


class Part(Document):
    """One file of the backup: its path below the folder, its SHA-256, its size in bytes."""

    path: str
    sha256: str
    size: int


class TablePart(Document):
    """The rows of one table."""

    name: str
    rows: int
    part: Part


class DatabasePart(Document):
    """One service's database, its tables in the order in which they can be filled."""

    service: str
    revision: str
    tables: tuple[TablePart, ...]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)


class ObjectsPart(Document):
    """Named bytes, kept by digest; `part` lists name, digest and size of each.

    Not saved are `damaged` ones, and `missing` ones, which a saved row names and the store no longer had.
    """

    objects: int
    size: int
    part: Part
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class Record(Document):
    """A whole backup."""

    format: int = FORMAT
    release: str
    made_at: UtcTime
    run: str
    topic_prefix: str
    databases: tuple[DatabasePart, ...]
    artifacts: ObjectsPart
    files: ObjectsPart
    offsets: Part | None = Field(description="None: there was no Kafka to ask.")

    def parts(self) -> Iterator[Part]:
        """Every file but the bytes by digest."""
        yield from (table.part for database in self.databases for table in database.tables)
        yield self.artifacts.part
        yield self.files.part
        if self.offsets is not None:
            yield self.offsets


def write(folder: Path, record: Record) -> None:
    """Make `record` the folder's. Everything written before is on the disk when the record is, and not later."""
    body = record.model_dump(mode="json")
    document = json.dumps({"sha256": _seal(body), "record": body}, indent=1)
    unfinished = folder / f"{NAME}.new"
    os.sync()  # once, for all files: far cheaper than one fsync a file
    with unfinished.open("w", encoding="utf-8") as file:
        file.write(document)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / NAME)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(folder: Path) -> Record:
    """The folder's record. Raises `BackupUnusable` when there is none, or it is damaged or of a later format."""
    path = folder / NAME
    try:
        document = json.loads(path.read_text("utf-8"))
        sealed, body = document["sha256"], document["record"]
        if _seal(body) != sealed:
            raise BackupUnusable(f"{path} is damaged (its SHA-256 is another): take another copy of the backup")
        if body["format"] > FORMAT:
            raise BackupUnusable(
                f"{path} was written by a later release ({body.get('release')}): restore it with that one"
            )
        return Record.model_validate(body)
    except NotADirectoryError as error:
        raise BackupUnusable(f"{folder} is no folder: name the one that `trimtab backup` wrote") from error
    except FileNotFoundError as error:
        raise BackupUnusable(f"{folder} holds no whole backup: there is no {NAME} in it") from error
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise BackupUnusable(f"{path} is damaged ({type(error).__name__}): take another copy of the backup") from error


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_parts(folder: Path, record: Record) -> None:
    """Raise `BackupUnusable` naming the first part that is missing or not what it was."""
    for part in record.parts():
        path = folder / part.path
        if not path.is_file():
            raise BackupUnusable(f"the backup is incomplete: {path} is missing")
        if path.stat().st_size != part.size or digest_of(path) != part.sha256:
            raise BackupUnusable(f"the backup is damaged: {path} is not what was written (its SHA-256 is another)")
