"""A strict reader of tar archives: what is not plainly a file with a plain name is refused, nothing is guessed.

Bytes are fed as they come and go on to a sink at once, so memory does not grow with the archive. Taken: POSIX ustar,
GNU and pax archives of regular files (folders are passed over), as `tarfile` and `tar --format=pax` write them.
Refused: links, devices, sparse files, GNU long names, global headers, names outside the grammar of storage keys (so no
`..`, no absolute path; a `./` before a name is passed over), a name twice, wrong checksums, anything after the end.

Source: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header".
"""

from typing import Protocol

from services.kernel.errors import InvalidInput
from services.kernel.storage.keys import checked_key

BLOCK = 512
MAX_PAX_BYTES = 64 << 10
"""Largest extended header of one member."""
MAX_SIZE_DIGITS = 19
"""Of a size in an extended header: what 64 bits hold."""

_FILES = (b"0", b"\0")
_FOLDER = b"5"
_PAX = b"x"
_KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a device",
    b"4": "a device",
    b"6": "a pipe",
    b"7": "a contiguous file",
    b"g": "a global header",
    b"K": "a long link name of GNU tar: write the archive with --format=pax",
    b"L": "a long file name of GNU tar: write the archive with --format=pax",
    b"S": "a sparse file",
}
_PAX_KEYS = frozenset(("path", "size", "mtime", "atime", "ctime", "uid", "gid", "uname", "gname", "comment"))
_MAGICS = (b"ustar\0", b"ustar ")
_ZEROS = bytes(BLOCK)
_GZIP = b"\x1f\x8b"


class Sink(Protocol):
    """Where the files of an archive go, one after the other."""

    def begin(self, name: str, size: int) -> None:
        """A file of `size` bytes begins."""

    def write(self, data: memoryview) -> None:
        """More of its bytes. The buffer is not the sink's to keep."""

    def end(self) -> None:
        """It is complete."""


class TarReader:
    """Reads one archive into `sink`. Every method raises `InvalidInput` that names what is wrong."""

    def __init__(self, sink: Sink, max_members: int) -> None:
        self._sink = sink
        self._max_members = max_members
        self._members = 0
        self._names: set[str] = set()
        self._head = bytearray()
        self._wanted = BLOCK
        self._in_pax = False
        self._pax: dict[str, str] = {}
        self._left = 0
        self._padding = 0
        self._zero_blocks = 0

    def feed(self, data: bytes) -> None:
        """The archive's next bytes."""
        view = memoryview(data)
        while view:
            if self._left:
                view = self._pass_on(view)
            elif self._padding:
                skipped = min(self._padding, len(view))
                self._padding -= skipped
                view = view[skipped:]
            else:
                missing = self._wanted - len(self._head)
                self._head += view[:missing]
                view = view[missing:]
                if len(self._head) == self._wanted:
                    block, self._head = bytes(self._head), bytearray()
                    if self._in_pax:
                        self._end_pax(block)
                    else:
                        self._header(block)

    def finish(self) -> None:
        """No more bytes come."""
        if not self._members and not self._zero_blocks:
            raise _no_tar(bytes(self._head))
        if self._zero_blocks < 2 or self._in_pax or self._head.strip(b"\0"):
            raise InvalidInput("the tar archive was cut off: its end is missing")

    def _pass_on(self, view: memoryview) -> memoryview:
        now = view[: self._left]
        self._sink.write(now)
        self._left -= len(now)
        if not self._left:
            self._sink.end()
        return view[len(now) :]

    def _header(self, block: bytes) -> None:
        if block == _ZEROS:
            if self._pax:
                raise InvalidInput("the tar archive ends after an extended header without its file")
            self._zero_blocks += 1
            return
        if self._zero_blocks:
            raise InvalidInput("the tar archive goes on after its end")
        if block[257:263] not in _MAGICS:
            raise _no_tar(block)
        if _number(block[148:156]) != sum(block[:148]) + 8 * ord(" ") + sum(block[156:]):
            raise InvalidInput("a header of the tar archive has a wrong checksum: it was damaged on its way")
        kind, size = block[156:157], _number(block[124:136])
        self._members += 1
        if self._members > self._max_members:
            raise InvalidInput(f"the tar archive has more than {self._max_members} members")
        if kind == _PAX:
            self._begin_pax(size)
            return
        name = self._pax.get("path") or _name(block)
        if "size" in self._pax:
            digits = self._pax["size"]
            if not (digits.isascii() and digits.isdecimal() and len(digits) <= MAX_SIZE_DIGITS):
                raise InvalidInput(f"the size of {name[:200]!r} is no number of at most {MAX_SIZE_DIGITS} digits")
            size = int(digits)
        self._pax = {}
        if kind == _FOLDER and not size and name in (".", "./"):
            return
        name = name.removeprefix("./")
        if kind in _FILES:
            self._begin_file(name, size)
        elif kind == _FOLDER and not size:
            checked_key(name.rstrip("/"))
        else:
            raise InvalidInput(f"{name[:200]!r} is {_KINDS.get(kind, 'no plain file')}: an upload holds plain files")

    def _begin_file(self, name: str, size: int) -> None:
        if checked_key(name) in self._names:
            raise InvalidInput(f"the file {name} is there twice")
        self._names.add(name)
        self._left, self._padding = size, -size % BLOCK
        self._sink.begin(name, size)
        if not size:
            self._sink.end()

    def _begin_pax(self, size: int) -> None:
        if self._pax or not 0 < size <= MAX_PAX_BYTES:
            raise InvalidInput(f"an extended header of the tar archive is doubled, empty or over {MAX_PAX_BYTES} bytes")
        self._in_pax, self._wanted, self._padding = True, size, 0

    def _end_pax(self, records: bytes) -> None:
        self._in_pax, self._wanted, self._padding = False, BLOCK, -len(records) % BLOCK
        self._pax = _pax_records(records)


def _no_tar(head: bytes) -> InvalidInput:
    if head.startswith(_GZIP):
        return InvalidInput("the tar archive is compressed with gzip: send it without, `gunzip` makes it so")
    if len(head) < BLOCK:
        return InvalidInput(f"the body is not a tar archive, or was cut off: it has {len(head)} bytes")
    return InvalidInput("the body is not a tar archive in ustar, GNU or pax format")


def _pax_records(data: bytes) -> dict[str, str]:
    """The `LENGTH KEY=VALUE\\n` records of an extended header."""
    found: dict[str, str] = {}
    while data:
        digits, _, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 6 else 0
        record, data = data[len(digits) + 1 : length], data[length:]
        key, equals, value = record.partition(b"=")
        if not (equals and value.endswith(b"\n")):
            raise InvalidInput("an extended header of the tar archive cannot be read")
        try:
            name, text = key.decode(), value[:-1].decode()
        except UnicodeDecodeError as error:
            raise InvalidInput("an extended header of the tar archive is not UTF-8") from error
        if name not in _PAX_KEYS or name in found:
            raise InvalidInput(
                f"the tar archive uses {name[:80]!r}, which is not read: write it with plain tar or tarfile"
            )
        found[name] = text
    return found


def _name(block: bytes) -> str:
    name = _text(block[:100])
    prefix = _text(block[345:500]) if block[257:263] == b"ustar\0" else ""
    return f"{prefix}/{name}" if prefix else name


def _text(field: bytes) -> str:
    text, _, rest = field.partition(b"\0")
    if rest.strip(b"\0"):
        raise InvalidInput("a name in the tar archive holds NUL")
    return text.decode("utf-8", "replace")


def _number(field: bytes) -> int:
    """An octal field, or a binary one with its first bit set (GNU, for sizes from 8 GiB)."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise InvalidInput("a header of the tar archive holds no number where one belongs")
    return int(digits, 8)
