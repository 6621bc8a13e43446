"""Bytes by digest: every object of the artifact store and every local file that matters, each content once.

`artifacts/<2>/<SHA-256>` holds the bytes, shared by all backups in the folder, so that a further backup copies only
what is new. Which names they had is in a list beside the databases.
"""

import hashlib
import re
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple, TypeVar

from services.kernel.artifacts import BLOBS
from services.kernel.errors import NotFound
from services.kernel.storage import ArtifactStore, StoredObject
from trimtab.backup.databases import Tell
from trimtab.backup.errors import BackupUnusable, NotEmpty
from trimtab.backup.lines import Lines, reading
from trimtab.backup.named import Named
from trimtab.backup.record import ObjectsPart, digest_of

BYTES = "artifacts"
"""Folder of the bytes."""
INCOMING = "incoming"
"""Folder of bytes that are on their way; what lies there belongs to nobody."""
THREADS = 8
"""Objects that are copied beside each other: a store answers late, not slowly."""
WAITING = 4 * THREADS
_BLOCK = 1 << 20
_DIGEST = re.compile("[0-9a-f]{64}")

T = TypeVar("T")
R = TypeVar("R")


class Listed(NamedTuple):
    """One line of the list."""

    name: str
    sha256: str
    size: int
    modified: float


@dataclass
class Copies:
    """What has been copied: by name, with the damaged ones apart, and how much of it was new to the folder.

    `kept` ones are listed though the store has lost or damaged them, `missing` ones nobody has.
    """

    listed: dict[str, Listed] = field(default_factory=dict)
    damaged: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    missing: set[str] = field(default_factory=set)
    new: int = 0
    new_bytes: int = 0

    @property
    def size(self) -> int:
        """Bytes of all objects."""
        return sum(one.size for one in self.listed.values())


class Source(NamedTuple):
    """Named bytes that can be opened."""

    name: str
    size: int
    modified: datetime
    open: Callable[[], BinaryIO]


def in_store(store: ArtifactStore) -> list[Source]:
    """Every object of the store."""

    def source(found: StoredObject) -> Source:
        return Source(found.key, found.size, found.modified, lambda: store.open(found.key))

    return [source(found) for found in store.list()]


def in_folder(folder: Path, patterns: Iterable[str]) -> list[Source]:
    """The files of `folder` that match a pattern."""

    def source(path: Path) -> Source:
        stat = path.stat()
        modified = datetime.fromtimestamp(stat.st_mtime, UTC)
        return Source(path.relative_to(folder).as_posix(), stat.st_size, modified, lambda: path.open("rb"))

    return [source(path) for pattern in patterns for path in sorted(folder.glob(pattern)) if path.is_file()]


# saving -----------------------------------------------------------------------------------------------------------


def copy(
    folder: Path,
    sources: Iterable[Source],
    copies: Copies,
    before: Mapping[str, Listed],
    since: float,
    tell: Tell,
) -> None:
    """Copy what `folder` lacks of `sources` and note all of them in `copies`; what was noted earlier stays noted.

    `before` is a list that was begun at `since` (seconds since 1970): an object of the same name, size and time of
    change, which lies before that, has the same content. Objects that vanish meanwhile are left out.
    """
    ordered = sorted(sources)
    total, done = sum(source.size for source in ordered), 0
    (folder / INCOMING).mkdir(parents=True, exist_ok=True)

    def take(source: Source) -> tuple[Listed, bool] | None:
        digest = _known(source, before.get(source.name), since)
        if digest is not None and _has(folder, digest, source.size):
            return Listed(source.name, digest, source.size, source.modified.timestamp()), False
        try:
            return _copy(folder, source)
        except (NotFound, FileNotFoundError):
            return None

    for source, taken in beside_each_other(take, ordered):
        done += source.size
        if taken is not None:
            one, new = taken
            if source.name.startswith(f"{BLOBS}/") and one.sha256 != source.name.rpartition("/")[2]:
                copies.damaged.add(source.name)
            else:
                copies.listed[source.name] = one
                copies.new, copies.new_bytes = copies.new + new, copies.new_bytes + new * one.size
        tell(done, total)


def complete(folder: Path, copies: Copies, named: Iterable[Named]) -> None:
    """List what rows name and the store has lost or damaged, if an earlier backup has left its bytes in `folder`."""
    digests = {one.sha256 for one in copies.listed.values()}
    lacking = {name: name.rpartition("/")[2] for name in copies.damaged if name not in copies.listed}
    for each in named:
        found = next((copies.listed[key].sha256 for key in each.keys if key in copies.listed), None)
        if found != each.sha256 and not (each.anywhere and each.sha256 in digests):
            lacking[each.key] = each.sha256
    for (name, digest), whole in beside_each_other(lambda one: is_whole(folder, one[1]), sorted(lacking.items())):
        stored = copies.listed.pop(name, None)
        if whole:  # never of the same time as what the store has, so that the next backup looks at that again
            copies.listed[name] = Listed(name, digest, bytes_of(folder, digest).stat().st_size, 0.0)
            copies.kept.add(name)
        elif stored is not None:
            copies.damaged.add(name)
        elif name not in copies.damaged:
            copies.missing.add(name)


def write_list(folder: Path, run: str, kind: str, copies: Copies) -> ObjectsPart:
    """Write the names of what was copied to `folder/run/kind.jsonl.gz`."""
    lines = Lines(folder, f"{run}/{kind}.jsonl.gz")
    for name in sorted(copies.listed):
        lines.write(copies.listed[name])
    damaged = tuple(sorted(copies.damaged - set(copies.listed)))
    missing = tuple(sorted(copies.missing))
    return ObjectsPart(
        objects=len(copies.listed), size=copies.size, part=lines.close(), damaged=damaged, missing=missing
    )


def listed(folder: Path, part: ObjectsPart) -> Iterator[Listed]:
    """The lines of a list. Raises `BackupUnusable`."""
    with reading(folder / part.part.path) as documents:
        for document in documents:
            yield Listed(*document)


def forget_others(folder: Path, kept: set[str]) -> int:
    """Remove bytes that no list names any more; how many objects that were."""
    gone = 0
    for path in (folder / BYTES).glob("??/*"):
        if _DIGEST.fullmatch(path.name) and path.name not in kept:
            path.unlink()
            gone += 1
    return gone


# bringing back ----------------------------------------------------------------------------------------------------


def check(folder: Path, parts: Iterable[ObjectsPart], tell: Tell) -> None:
    """Hash every object's bytes. Raises `BackupUnusable` naming the first that is missing or damaged."""
    sizes = {one.sha256: one.size for part in parts for one in listed(folder, part)}
    total, done = sum(sizes.values()), 0
    for (digest, size), good in beside_each_other(lambda one: is_whole(folder, one[0]), sorted(sizes.items())):
        if not good:
            path = bytes_of(folder, digest)
            what = "damaged" if path.exists() else "missing"
            raise BackupUnusable(f"the backup can't be restored: the artifact {path} is {what}; take another copy")
        done += size
        tell(done, total)


def check_store(folder: Path, part: ObjectsPart, store: ArtifactStore) -> set[str]:
    """The keys that the store holds already, with the bytes of the backup. Raises `NotEmpty` for other bytes."""
    wanted = {one.name: one for one in listed(folder, part)}
    there = [found for found in store.list() if found.key in wanted]

    def same(found: StoredObject) -> bool:
        one = wanted[found.key]
        return found.size == one.size and digest_of_stream(store.open(found.key)) == one.sha256

    for found, good in beside_each_other(same, there):
        if not good:
            raise NotEmpty(
                f"the artifact store ({store.name}) holds {found.key} with other bytes than the backup: restore into"
                " an empty store (TRIMTAB_STORAGE_DIR or S3_BUCKET)"
            )
    return {found.key for found in there}


def to_store(folder: Path, part: ObjectsPart, store: ArtifactStore, there: set[str], tell: Tell) -> None:
    """Put every object that is not `there` into the store. The bytes must have been checked."""
    missing = [one for one in listed(folder, part) if one.name not in there]
    total, done = sum(one.size for one in missing), 0
    for one, _ in beside_each_other(lambda one: store.put_file(one.name, bytes_of(folder, one.sha256)), missing):
        done += one.size
        tell(done, total)


def check_folder(folder: Path, part: ObjectsPart, target: Path) -> None:
    """Raise `NotEmpty` when a file is there with other bytes than the backup's."""
    for one in listed(folder, part):
        path = target / one.name
        if path.exists() and digest_of(path) != one.sha256:
            raise NotEmpty(f"{path} is there with other bytes than the backup's: restore into an empty folder")


def to_folder(folder: Path, part: ObjectsPart, target: Path) -> None:
    """Write every file below `target`. The bytes must have been checked."""
    for one in listed(folder, part):
        path = target / one.name
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.restoring")
        shutil.copyfile(bytes_of(folder, one.sha256), partial)
        partial.replace(path)


# parts ------------------------------------------------------------------------------------------------------------


def beside_each_other(work: Callable[[T], R], items: Iterable[T]) -> Iterator[tuple[T, R]]:
    """`(item, work(item))` in the order of `items`, worked on by `THREADS` threads, `WAITING` ahead at most."""
    running: deque[tuple[T, Future[R]]] = deque()
    with ThreadPoolExecutor(THREADS, thread_name_prefix="backup") as threads:
        try:
            for item in items:
                running.append((item, threads.submit(work, item)))
                if len(running) >= WAITING:
                    first, future = running.popleft()
                    yield first, future.result()
            while running:
                first, future = running.popleft()
                yield first, future.result()
        finally:
            for _, future in running:
                future.cancel()


def _known(source: Source, before: Listed | None, since: float) -> str | None:
    if source.name.startswith(f"{BLOBS}/"):
        return source.name.rpartition("/")[2]
    unchanged = before is not None and (before.size, before.modified) == (source.size, source.modified.timestamp())
    return before.sha256 if before is not None and unchanged and before.modified < since else None


def _copy(folder: Path, source: Source) -> tuple[Listed, bool]:
    partial = folder / INCOMING / uuid.uuid4().hex
    sha256, size = hashlib.sha256(), 0
    try:
        with partial.open("wb") as file, source.open() as stream:
            while block := stream.read(_BLOCK):
                sha256.update(block)
                size += file.write(block)
        found = Listed(source.name, sha256.hexdigest(), size, source.modified.timestamp())
        if _has(folder, found.sha256, size):
            return found, False
        target = bytes_of(folder, found.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.rename(target)
        return found, True
    finally:
        partial.unlink(missing_ok=True)


def _has(folder: Path, digest: str, size: int) -> bool:
    path = bytes_of(folder, digest)
    return path.is_file() and path.stat().st_size == size


def is_whole(folder: Path, digest: str) -> bool:
    """Whether `folder` has the bytes of this digest, every one as it was."""
    path = bytes_of(folder, digest)
    return path.is_file() and digest_of(path) == digest


def digest_of_stream(stream: BinaryIO) -> str:
    """SHA-256 (hex) of all that `stream` has; closes it."""
    sha256 = hashlib.sha256()
    with stream:
        while block := stream.read(_BLOCK):
            sha256.update(block)
    return sha256.hexdigest()


def bytes_of(folder: Path, digest: str) -> Path:
    """Where the bytes of this digest lie in `folder`, if they do."""
    return folder / BYTES / digest[:2] / digest
