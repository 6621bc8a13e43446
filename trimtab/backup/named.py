"""The bytes that rows name by their digest: what a backup must hold, and what the store should have.

Named are the manifest and every file of each version whose bytes are kept, the manifest of a registration that waits,
every blob that has a holder, and the datasets that a training job was given by digest. Rows are read by their names,
so that databases of older revisions are understood too.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy as sa

from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import blob_key
from services.kernel.settings import Settings
from services.registry.handlers import PENDING
from trimtab.backup import databases, tables
from trimtab.backup.errors import BackupError
from trimtab.backup.lines import from_json, reading
from trimtab.backup.record import DatabasePart

Row = Mapping[str, Any]

_DATASET = re.compile(r"artifact:(datasets/([0-9a-f]{64})\.[a-z]+)")


class Named(NamedTuple):
    """Bytes that a row names. The first of `keys` that is there is the one that is read.

    `anywhere`: the row does not say under which key; the same bytes under another one will do.
    """

    sha256: str
    keys: tuple[str, ...]
    anywhere: bool = False

    @property
    def key(self) -> str:
        """Where the bytes belong."""
        return self.keys[0]


def in_backup(folder: Path, parts: Sequence[DatabasePart]) -> Iterator[Named]:
    """What the rows of a backup name, some of it several times. Raises `BackupUnusable`."""
    for part in parts:
        for table in part.tables:
            if read := _READERS.get((part.service, table.name)):
                with reading(folder / table.part.path) as documents:
                    columns = next(documents)["columns"]
                    for row in documents:
                        yield from read(dict(zip(columns, map(from_json, row), strict=True)))


def in_databases(settings: Settings) -> set[Named]:
    """What the rows of the installation name now. Raises `BackupError` without a registry, `DatabaseUnavailable`."""
    found: set[Named] = set()
    for service in dict.fromkeys(service for service, _ in _READERS):

        def look(connection: sa.Connection, service: str = service) -> None:
            for table in tables.in_order(connection):
                if read := _READERS.get((service, table.name)):
                    rows = connection.execute(sa.select(table), execution_options={"yield_per": databases.ROWS_AT_ONCE})
                    found.update(chain.from_iterable(read(row._asdict()) for row in rows))

        if not databases.look(settings, service, look) and service == "registry":
            raise BackupError(
                f"there is no registry's database at {databases.where(settings, service)} that could say which"
                " artifacts belong in the store: name the installation with --data-dir, TRIMTAB_DATA_DIR or"
                " TRIMTAB_DATABASE_URL"
            )
    return found


def _by_version(row: Row) -> Iterator[Named]:
    if row.get("bytes_dropped_at") is not None:
        return
    yield Named(row["manifest_digest"], (f"{row['artifact']}/{MANIFEST_NAME}",))
    for file in json.loads(row["manifest"])["files"]:
        yield Named(file["sha256"], (blob_key(file["sha256"]), f"{row['artifact']}/{file['path']}"))


def _by_registration(row: Row) -> Iterator[Named]:
    if row["state"] == PENDING:
        yield Named(row["manifest_digest"], (f"{row['artifact']}/{MANIFEST_NAME}",))


def _by_holder(row: Row) -> Iterator[Named]:
    yield Named(row["sha256"], (blob_key(row["sha256"]),), anywhere=True)


def _by_job(row: Row) -> Iterator[Named]:
    for key, digest in _DATASET.findall(row["document"]):
        yield Named(digest, (key,))


_READERS: dict[tuple[str, str], Callable[[Row], Iterator[Named]]] = {
    ("registry", "versions"): _by_version,
    ("registry", "registrations"): _by_registration,
    ("registry", "blob_holders"): _by_holder,
    ("trainer", "jobs"): _by_job,
}
