"""The prediction log: every answered row is on disk before its answer leaves.

A log has lives, each with an incarnation and rows numbered from 0; a prediction's id is `INCARNATION-NUMBER`. A
process goes on with a life of the same bundle, replica and machine that no living process writes; when there is none,
or its end is damaged, a new one begins. Disk use is bounded. Past that, or when the disk refuses a write, the policy
decides: `reject` fails the requests, `shed` answers them and announces the missing rows as a gap. Loss is never silent.
"""

import fcntl
import os
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from .errors import Unavailable, WrongUse
from .segments import (
    LOCK_NAME,
    SENT_NAME,
    SHED_NAME,
    SUFFIX,
    Document,
    Life,
    decode,
    encode,
    life_of,
    lines,
    lives,
    new_incarnation,
    number_line,
    read_number,
    segments,
    used_bytes,
    write_at,
)

OverflowPolicy = Literal["reject", "shed"]

BUDGET_BYTES = 64 << 20
"""Disk that the log may take."""
SEGMENT_BYTES = 1 << 20
"""Size at which a new segment begins; at most an eighth of the budget."""
MEASURE_SECONDS = 1.0
"""Pause between two looks at how much a forwarder has freed, while the log is full."""
REFUSED_NAMES = 200
"""Features that are counted by name in refused requests; the rest is `(other)`."""


class PredictionLog:
    """The log as its one writer in this process sees it. Thread-safe. `identity`: its incarnation does not count.

    Raises `WrongUse` when the folder can't be used.
    """

    def __init__(
        self,
        folder: Path,
        identity: Life,
        *,
        budget_bytes: int = BUDGET_BYTES,
        policy: OverflowPolicy = "reject",
        fsync: bool = False,
    ) -> None:
        self.shed_rows = 0
        self._log = folder
        self._budget_bytes = budget_bytes
        self._segment_bytes = min(SEGMENT_BYTES, budget_bytes // 8)
        self._policy = policy
        self._fsync = fsync
        self._lock = threading.Lock()
        self._refused: Counter[str] = Counter()
        self._gap: tuple[int, str] | None = None
        self._next = 0
        self._fd = -1
        self._size = 0
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._open(identity)
        except OSError as error:
            raise WrongUse(f"the log folder {folder} can't be used: {error.strerror or error}") from error
        self._used = used_bytes(folder)
        self._measured_at = time.monotonic()

    @property
    def incarnation(self) -> str:
        """The name of the life that is written."""
        return self.life.incarnation

    @property
    def next_sequence(self) -> int:
        """The number of the next row."""
        return self._next

    def admit(self) -> None:
        """Refuse a request early when its rows could not be logged. Raises `Unavailable`."""
        with self._lock:
            if self._policy == "reject" and self._full():
                raise Unavailable("the prediction log is full: predictions are refused so that none goes unlogged")

    def append(self, rows: list[Document]) -> int:
        """Write rows; the number of the first. When this returns, they survive the death of the process.

        Raises `Unavailable` under the policy `reject`.
        """
        with self._lock:
            first = self._next
            numbered = ({"n": first + i, **row} for i, row in enumerate(rows))
            data = b"".join(map(encode, (*self._told(), *numbered)))
            if self._full(len(data)):
                return self._shed(len(rows), "the disk budget of the log is used up")
            try:
                self._write(data)
            except OSError as error:
                return self._shed(len(rows), f"the disk refused a write: {error.strerror}")
            self._next = first + len(rows)
            self._gap = None
            self._refused.clear()
            return first

    def refused(self, features: list[str]) -> None:
        """Count a request that was refused because of these features; the next row takes the counts along."""
        with self._lock:
            for name in features:
                known = name in self._refused or len(self._refused) < REFUSED_NAMES
                self._refused[name if known else "(other)"] += 1

    def close(self) -> None:
        """Write what no row took along and let another process go on with this life."""
        with self._lock:
            if self._fd < 0:
                return
            data = b"".join(map(encode, self._told()))
            if data and not self._full(len(data)):
                try:
                    self._write(data)
                except OSError:
                    self._gap = None  # `shed` knows the numbers of the rows; the counts of refusals are lost
            os.close(self._fd)
            os.close(self._lock_fd)
            os.close(self._shed_fd)
            self._fd = -1

    def _told(self) -> list[Document]:
        told: list[Document] = []
        if self._gap is not None:
            first, reason = self._gap
            told.append({"gap": [first, self._next - first], "reason": reason})
        if self._refused:
            told.append({"refused": dict(self._refused)})
        return told

    def _write(self, data: bytes) -> None:
        if self._size >= self._segment_bytes:
            self._begin_segment()
        try:
            write_at(self._fd, data, self._size)
            if self._fsync:
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise
        self._size += len(data)
        self._used += len(data)

    def _full(self, more_bytes: int = 1) -> bool:
        if self._used + more_bytes <= self._budget_bytes:
            return False
        now = time.monotonic()
        if now - self._measured_at >= MEASURE_SECONDS:
            self._used, self._measured_at = used_bytes(self._log), now
        return self._used + more_bytes > self._budget_bytes

    def _shed(self, rows: int, why: str) -> int:
        if self._policy == "reject":
            raise Unavailable(f"the prediction could not be logged and is refused: {why}")
        first = self._next
        try:
            write_at(self._shed_fd, number_line(first + rows), 0)
        except OSError as error:
            raise Unavailable(f"the disk takes not even the count of unlogged rows: {error.strerror}") from error
        self._next += rows
        self.shed_rows += rows
        self._gap = (self._gap[0] if self._gap is not None else first, why)
        return first

    # a life -------------------------------------------------------------------------------------------------------

    def _open(self, identity: Life) -> None:
        for folder in lives(self._log):
            life = life_of(folder)
            if life is None or not life.continues(identity):
                continue
            lock_fd = claim(folder)
            if lock_fd is None:
                continue
            if self._resume(folder):
                self.life, self._folder, self._lock_fd = life, folder, lock_fd
                return
            os.close(lock_fd)
        self._begin(replace(identity, incarnation=new_incarnation(identity.model_id)))

    def _resume(self, folder: Path) -> bool:
        """Go on where a life ends; False when its end is damaged, so that its next number is not certain."""
        end = end_of(folder)
        if end is None:
            return False
        shed = read_number(folder / SHED_NAME)
        self._next = max(end.next_sequence, shed, read_number(folder / SENT_NAME))
        self._gap = (end.next_sequence, "rows that were not logged") if shed > end.next_sequence else None
        self._fd, self._size = os.open(end.path, os.O_RDWR | os.O_CLOEXEC), end.size
        self._shed_fd = os.open(folder / SHED_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._fd, self._size)
        return True

    def _begin(self, life: Life) -> None:
        folder = self._log / life.incarnation
        folder.mkdir(mode=0o700)
        lock_fd = claim(folder)
        assert lock_fd is not None
        self.life, self._folder, self._lock_fd = life, folder, lock_fd
        self._shed_fd = os.open(folder / SHED_NAME, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        write_at(self._shed_fd, number_line(0), 0)  # its block is taken now: a full disk still takes what replaces it
        self._next, self._used = 0, 0
        self._begin_segment()

    def _begin_segment(self) -> None:
        path = self._folder / f"{self._next:015d}{SUFFIX}"
        unnamed = path.with_suffix(".new")
        fd = os.open(unnamed, os.O_CREAT | os.O_TRUNC | os.O_RDWR | os.O_CLOEXEC, 0o600)
        head = encode({"life": asdict(self.life)})
        try:
            write_at(fd, head, 0)
            unnamed.rename(path)
        except OSError:
            os.close(fd)
            unnamed.unlink(missing_ok=True)
            raise
        if self._fsync:
            sync_folder(self._folder)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd, self._size = fd, len(head)
        self._used = used_bytes(self._log)


@dataclass(frozen=True)
class End:
    """Where the newest segment of a life ends, and the number after its last row."""

    path: Path
    size: int
    next_sequence: int


def end_of(folder: Path) -> End | None:
    """The end of a life; None when it is damaged after its last good line: a row may have been there.

    What has no newline was torn off in the middle of a write. One that is whole but for its newline is taken for
    damage.
    """
    newest = segments(folder)
    if not newest:
        return None
    (next_sequence, path), size, good = newest[-1], 0, False
    for document, end in lines(path):
        good = document is not None
        size = end
        if document is not None and "n" in document:
            next_sequence = int(document["n"]) + 1
    with path.open("rb") as file:
        file.seek(size)
        tail = file.read()
    whole = decode(tail) is not None or decode(tail[:-1]) is not None
    return End(path, size, next_sequence) if good and not whole else None


def claim(folder: Path) -> int | None:
    """The lock of a life, held until the descriptor is closed; None when a living process has it, or it is gone."""
    try:
        fd = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    except BlockingIOError:
        pass
    os.close(fd)
    return None


def is_written(folder: Path) -> bool:
    """Whether a living process writes this life."""
    lock_fd = claim(folder)
    if lock_fd is None:
        return True
    os.close(lock_fd)
    return False


def sync_folder(folder: Path) -> None:
    """Wait until the device has the names of the folder's files. Raises `OSError`."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
