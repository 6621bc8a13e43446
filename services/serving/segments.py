"""The prediction log's files: append-only segments of checksummed blocks.

A segment begins with a fixed header: magic, the offset up to which its blocks are acknowledged by the broker, and a
JSON document that names the log (model, replica, incarnation). Blocks follow: marker, kind, length, CRC-32, payload.
The process that writes or ships a segment holds a lock on the file, which the kernel releases when the process dies; a
segment that nobody locks is an orphan, and any replica on the machine may adopt it.

A block is torn when the process died inside the write. No answer of such a block ever left, so it is dropped.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

import msgspec

from services.kernel.errors import IntegrityFailed

SUFFIX = ".segment"
_MAGIC = b"TRIMLOG1"
_HEADER = struct.Struct("<8sQII")  # magic, acknowledged offset, length and CRC of the JSON document
_BLOCK = struct.Struct("<4sIII")  # marker, kind, length, CRC
_MARKER = b"BLK1"
_LONGEST_BLOCK = 1 << 30
_CHUNK_BYTES = 256 << 10


class BlockKind(IntEnum):
    """What a block holds. FORM is SIGNATURE for rows that are redacted."""

    SIGNATURE = 1
    ROWS = 2
    GAP = 3
    FORM = 4


_KINDS = frozenset(int(kind) for kind in BlockKind)


class LogName(msgspec.Struct, frozen=True):
    """Which log a segment belongs to, and its place in it."""

    model_id: str
    replica: str
    incarnation: str
    number: int

    @property
    def file_name(self) -> str:
        """Sorts by incarnation, then by order of writing."""
        return f"{self.incarnation}-{self.number:08d}{SUFFIX}"


class Segment:
    """One open and locked segment. `size` is the end of its last whole block, `acknowledged` the end of the last block
    that the broker has confirmed."""

    def __init__(self, path: Path, fd: int, name: LogName, *, start: int, size: int, acknowledged: int) -> None:
        self.path = path
        self.name = name
        self.start = start
        self.size = size
        self.acknowledged = acknowledged
        self.sealed = False
        self._fd = fd
        self._closed = False

    @classmethod
    def create(cls, directory: Path, name: LogName) -> "Segment":
        """A new, empty segment. Raises `OSError`."""
        about = msgspec.json.encode(name)
        start = _HEADER.size + len(about)
        path = directory / name.file_name
        # Locked before it has its name, so that no adopter sees it unlocked.
        unnamed = path.with_suffix(".new")
        fd = os.open(unnamed, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _write_fully(fd, _HEADER.pack(_MAGIC, start, len(about), zlib.crc32(about)) + about, 0)
            unnamed.rename(path)
        except OSError:
            os.close(fd)
            unnamed.unlink(missing_ok=True)
            raise
        return cls(path, fd, name, start=start, size=start, acknowledged=start)

    @classmethod
    def adopt(cls, path: Path, mine: Callable[[str], bool] | None = None) -> "Segment | None":
        """Lock and open an orphan, or None when a living process holds it, it is already gone, or it is not `mine` by
        the name of its replica. What is not `mine` is not even locked: that would hide it from its heir.

        Raises `IntegrityFailed` when the header is unreadable.
        """
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        if mine is not None:
            try:
                name, _, _ = _read_header(fd, path)
            except IntegrityFailed:
                os.close(fd)
                raise
            if not mine(name.replica):
                os.close(fd)
                return None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return None
        try:
            if os.fstat(fd).st_nlink == 0:  # its owner finished with it between our open and our lock
                os.close(fd)
                return None
            name, start, acknowledged = _read_header(fd, path)
        except IntegrityFailed:
            os.close(fd)
            raise
        end = os.fstat(fd).st_size
        segment = cls(path, fd, name, start=start, size=end, acknowledged=min(max(acknowledged, start), end))
        segment.sealed = True
        return segment

    def append(self, kind: BlockKind, parts: Sequence[bytes]) -> None:
        """Write one block; when this returns, the block survives the death of the process.

        Raises `OSError` (disk full, for instance) and leaves no trace of the block.
        """
        payload = b"".join(parts)
        block = _BLOCK.pack(_MARKER, kind, len(payload), zlib.crc32(payload)) + payload
        try:
            _write_fully(self._fd, block, self.size)
        except OSError:
            os.ftruncate(self._fd, self.size)
            raise
        self.size += len(block)

    def sync(self) -> None:
        """Wait until the device has everything that was appended. Raises `OSError`."""
        if not self._closed:  # closed: the broker has everything already
            os.fdatasync(self._fd)

    def blocks(self, offset: int) -> Iterator[tuple[BlockKind, bytes, int]]:
        """(kind, payload, end offset) of the blocks from `offset` to `size`.

        Stops before a torn tail. A damaged block in the middle is left out; the sequence numbers tell the reader.
        """
        chunk, begin = b"", offset  # many small blocks are read at once
        while offset + _BLOCK.size <= self.size:
            if offset + _BLOCK.size > begin + len(chunk):
                chunk, begin = self._read(offset, _CHUNK_BYTES), offset
                if len(chunk) < _BLOCK.size:
                    return
            marker, kind, length, crc = _BLOCK.unpack_from(chunk, offset - begin)
            end = offset + _BLOCK.size + length
            if marker != _MARKER or length > _LONGEST_BLOCK or end > self.size or kind not in _KINDS:
                return
            if end > begin + len(chunk):
                chunk, begin = self._read(offset, max(_CHUNK_BYTES, end - offset)), offset
            payload = chunk[offset - begin + _BLOCK.size : end - begin]
            offset = end
            if len(payload) == length and zlib.crc32(payload) == crc:
                yield BlockKind(kind), payload, end

    def _read(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, min(size, self.size - offset), offset)

    def acknowledge(self, offset: int) -> None:
        """Note that the broker has everything before `offset`, so that an adopter does not send it again. A full disk
        may refuse even that where files are copied on write; then an adopter does, which a reader can tell."""
        self.acknowledged = offset
        with suppress(OSError):
            os.pwrite(self._fd, struct.pack("<Q", offset), len(_MAGIC))

    def delete(self) -> None:
        """Remove the file; its blocks are with the broker."""
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the lock; the file stays for an adopter."""
        self._closed = True
        os.close(self._fd)


def orphans(directory: Path, mine: Callable[[str], bool] | None = None) -> list[Segment]:
    """Every segment under `directory` that no living process holds and that is `mine`, locked, in order of writing.

    An unreadable one is renamed to `.damaged` and left for a person.
    """
    adopted: list[Segment] = []
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            segment = Segment.adopt(path, mine)
        except IntegrityFailed:
            with suppress(FileNotFoundError):  # another process was faster
                path.rename(path.with_suffix(".damaged"))
            continue
        if segment is not None:
            adopted.append(segment)
    return adopted


def _write_fully(fd: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def _read_header(fd: int, path: Path) -> tuple[LogName, int, int]:
    raw = os.pread(fd, _HEADER.size, 0)
    if len(raw) == _HEADER.size:
        magic, acknowledged, length, crc = _HEADER.unpack(raw)
        about = os.pread(fd, length, _HEADER.size) if magic == _MAGIC and length < 65_536 else b""
        if about and zlib.crc32(about) == crc:
            try:
                return msgspec.json.decode(about, type=LogName), _HEADER.size + length, acknowledged
            except msgspec.DecodeError:
                pass
    raise IntegrityFailed(f"{path.name} is not a segment of the prediction log")
