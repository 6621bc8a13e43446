"""Blobs that have not come whole yet: files on the registry's disk that outlive a cut connection and a restart.

`<folder>/<principal>/<sha256>-<size>.part` holds what has come; its length is how far that is. Each principal has a
folder of its own (named by a digest of its name), so nobody can touch or guess at another's. One writer at a time
holds a lock on the file (flock: it ends with the process). What is not written to for `keep_seconds` is removed.

Bytes that are sent before their digest is known lie in `named.<name>-<size>.part`; the name is the sender's choice.
`<sha256>.sent` is a claim: this principal has shown that it has these bytes. `named.<name>.is` holds the digest of what
came whole under that name.
"""

import errno
import fcntl
import hashlib
import os
import threading
import time
from pathlib import Path
from typing import IO

from services.kernel.errors import Conflict, InvalidInput, NoRoom
from services.registry.arrivals.incoming import write_all
from services.registry.arrivals.writeback import Writeback

FULL = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
"""How a disk, a quota or a limit on files says that it takes no more."""

_REREAD_BYTES = 1 << 20
_PART, _SENT, _IS = ".part", ".sent", ".is"
SHARE = 2
"""A principal may hold one `SHARE`-th of the room."""


def home_of(principal: str) -> str:
    """The name of the folder of a principal's own."""
    return hashlib.sha256(principal.encode()).hexdigest()[:32]


def named_piece(name: str) -> str:
    """What a blob is called here whose digest is not known yet; never what one by its digest is called."""
    return f"named.{name}"


class BeingWritten(Conflict):
    """Another request writes this blob right now."""

    code = "being-written"


class Partials:
    """The unfinished blobs below `folder`. Methods block.

    `max_bytes` bounds the declared sizes of all of them together; `keep_seconds` is how long an untouched one stays.
    """

    def __init__(self, folder: Path, max_bytes: int, keep_seconds: float) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_seconds = keep_seconds
        self._lock = threading.Lock()

    def received(self, principal: str, sha256: str) -> int:
        """How many bytes of a blob have come."""
        found = self._find(principal, sha256)
        return found.stat().st_size if found is not None else 0

    def has_sent(self, principal: str, sha256: str) -> bool:
        """Whether this principal has sent these bytes whole, not long ago."""
        try:
            age_seconds = time.time() - self._claim(principal, sha256).stat().st_mtime
        except FileNotFoundError:
            return False
        return age_seconds < self._keep_seconds

    def note_sent(self, principal: str, sha256: str) -> None:
        """This principal has sent these bytes whole."""
        claim = self._claim(principal, sha256)
        claim.parent.mkdir(parents=True, exist_ok=True)
        claim.touch()

    def digest_of(self, principal: str, name: str) -> str | None:
        """The SHA-256 of what this principal has sent whole under a name, not long ago."""
        note = self._note(principal, name)
        try:
            fresh = time.time() - note.stat().st_mtime < self._keep_seconds
            return note.read_text("ascii") if fresh else None
        except FileNotFoundError:
            return None

    def note_digest(self, principal: str, name: str, sha256: str) -> None:
        """What this principal has sent whole under a name has this SHA-256."""
        self._note(principal, name).write_text(sha256, "ascii")

    def discard(self, principal: str, sha256: str) -> bool:
        """Throw away what has come of a blob; False where nothing has begun to. Raises `BeingWritten`."""
        path = self._find(principal, sha256)
        if path is None:
            return False
        partial = self.open(principal, sha256, _declared(path))
        try:
            partial.remove()
        finally:
            partial.close()
        return True

    def open(self, principal: str, sha256: str, size: int) -> "Partial":
        """The partial file of a blob of `size` bytes, made if absent; close it.

        Raises `BeingWritten`, `NoRoom`, and `InvalidInput` when it was begun with another size.
        """
        path = self._home(principal) / f"{sha256}-{size}{_PART}"
        path.parent.mkdir(parents=True, exist_ok=True)
        while True:
            with self._lock:
                self._make_room(principal, sha256, size)
                file = path.open("a+b", buffering=0)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                file.close()
                raise BeingWritten(
                    f"another request is sending {sha256}: wait for it, or for "
                    "TRIMTAB_REGISTRY_UPLOAD_IDLE_SECONDS if that was yours and broke"
                ) from error
            if _is(path, file):
                return Partial(path, file)
            file.close()  # its last writer has just removed it

    def sweep(self) -> int:
        """Remove what has not been written to for long; how many files that were."""
        removed = 0
        for path in list(self._folder.glob("*/*")):
            try:
                if time.time() - path.stat().st_mtime < self._keep_seconds:
                    continue
                with path.open("rb") as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    path.unlink(missing_ok=True)
                    removed += 1
            except (FileNotFoundError, BlockingIOError):
                continue
        return removed

    def _make_room(self, principal: str, sha256: str, size: int) -> None:
        mine, all_bytes = 0, 0
        home = self._home(principal)
        for path in self._folder.glob(f"*/*{_PART}"):
            declared = _declared(path)
            if path.parent == home and path.name.startswith(sha256):
                if declared != size:
                    raise InvalidInput(f"{sha256} was begun with {declared} bytes, not {size}: one of them is wrong")
                return
            all_bytes += declared
            mine += declared if path.parent == home else 0
        if mine + size > self._max_bytes // SHARE or all_bytes + size > self._max_bytes:
            raise NoRoom(
                f"unfinished uploads hold {all_bytes} bytes, {mine} of them yours: finish them, or raise "
                f"TRIMTAB_REGISTRY_UPLOADS_BYTES (now {self._max_bytes}; one key may hold 1/{SHARE} of it)"
            )

    def _find(self, principal: str, sha256: str) -> Path | None:
        return next(iter(self._home(principal).glob(f"{sha256}-*{_PART}")), None)

    def _claim(self, principal: str, sha256: str) -> Path:
        return self._home(principal) / f"{sha256}{_SENT}"

    def _note(self, principal: str, name: str) -> Path:
        return self._home(principal) / f"{named_piece(name)}{_IS}"

    def _home(self, principal: str) -> Path:
        return self._folder / home_of(principal)


def _declared(path: Path) -> int:
    """How many bytes a blob has in all, by the name of its partial file."""
    return int(path.name.removesuffix(_PART).partition("-")[2])


class Partial:
    """One partial file, locked against every other writer. Methods block."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path = path
        self.received = os.fstat(file.fileno()).st_size
        self._file = file
        self._digest = hashlib.sha256()
        self._digested = 0
        self._writeback = Writeback(file.fileno(), self.received)

    def write(self, data: bytes) -> None:
        """Append `data`. Raises `NoRoom` when the disk is full; what has come is kept."""
        self._digest_up_to(self.received)
        try:
            write_all(self._file, data)
        except OSError as error:
            self.received = os.fstat(self._file.fileno()).st_size
            if error.errno not in FULL:
                raise
            raise NoRoom(
                f"the registry's disk is full ({error.strerror}): free space below {self.path.parents[1]}, then go on; "
                "what has come is kept"
            ) from error
        self.received += len(data)
        self._writeback.wrote(self.received)
        self._digest.update(data)
        self._digested = self.received

    def sha256(self) -> str:
        """SHA-256 (hex) of what has come; only what came in earlier requests is read again."""
        self._digest_up_to(self.received)
        return self._digest.hexdigest()

    def remove(self) -> None:
        """Throw away what has come."""
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let others write; a file that nothing came to is removed."""
        if not self.received and _is(self.path, self._file):
            self.path.unlink()
        self._file.close()

    def _digest_up_to(self, size: int) -> None:
        if self._digested == size:
            return
        self._digest, self._digested = hashlib.sha256(), 0
        self._file.seek(0)
        while self._digested < size and (block := self._file.read(min(_REREAD_BYTES, size - self._digested))):
            self._digest.update(block)
            self._digested += len(block)


def _is(path: Path, file: IO[bytes]) -> bool:
    """Whether `path` still names the open file."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False
