"""SQLite's files moved into place one after the other, so that a crash in between can be begun again.

Before the first of them moves, a list of their digests is on the disk; after the last it is removed. Where it is found,
a file that still has its digest was put there by a restore that did not end, and nobody has written to it since.
"""

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from trimtab.backup.record import digest_of

LIST = "databases.restoring"
"""Name of the list; it lies beside the databases."""


def left_behind(folder: Path, paths: Iterable[Path]) -> list[Path]:
    """Those of `paths` that a restore into `folder` which did not end has put there, as they were."""
    try:
        digests = json.loads((folder / LIST).read_bytes())
    except FileNotFoundError:
        return []
    return [
        path for path in paths if path.exists() and not _is_written(path) and digests.get(path.name) == digest_of(path)
    ]


def move(folder: Path, moves: Sequence[tuple[Path, Path]]) -> None:
    """Move each (from, to), which lie in `folder`; what is there is replaced. What was left behind must be gone."""
    unfinished = folder / f"{LIST}.new"
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump({target.name: digest_of(source) for source, target in moves}, file)
    os.sync()  # the databases too
    unfinished.replace(folder / LIST)
    _flush(folder)
    for source, target in moves:
        remove(target)
        source.rename(target)
    _flush(folder)
    (folder / LIST).unlink()


def remove(path: Path) -> None:
    """Remove a database and what SQLite keeps beside it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _is_written(path: Path) -> bool:
    log = path.with_name(f"{path.name}-wal")
    return log.exists() and log.stat().st_size > 0


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
