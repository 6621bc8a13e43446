"""The log's files: lines of JSON, each with a checksum, in folders that are the lives of the log.

```
LOG/edge.<16 hex of the model><16 hex>/    one life, named by its incarnation
    000000000000000.log    segment: `CRC32 JSON` a line, the first of them says whose life it is; named by the
    000000000001234.log    sequence number at which it begins
    lock                   held by the process that writes this life
    shed                   one line, written in place: the number after the last row that was answered without a log
    sent                   one line: the number after the last row that the gateway has acknowledged
```

A line is torn when the process died inside the write. No answer of such a line ever left, so it is dropped. A damaged
line in the middle is left out, and the numbers of its neighbours tell how many rows are missing.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SUFFIX = ".log"
LOCK_NAME, SHED_NAME, SENT_NAME = "lock", "shed", "sent"
INCARNATION_PREFIX = "edge."

Document = dict[str, Any]


@dataclass(frozen=True)
class Life:
    """Whose rows these are. `machine` names the machine and its boot: neither the copy of a disk nor a machine that
    lost its newest rows with its power goes on with numbers that were given before."""

    incarnation: str
    model_id: str
    version: str
    manifest_digest: str
    signature_digest: str
    replica: str
    machine: str = ""

    def continues(self, other: "Life") -> bool:
        """Whether `other` may go on numbering rows in this life: the same but for the incarnation."""
        return {**asdict(self), "incarnation": ""} == {**asdict(other), "incarnation": ""}


def new_incarnation(model_id: str) -> str:
    """A fresh incarnation: 16 hexadecimal digits that follow from the model, and 16 by lot.

    The gateway refuses one that is of another model, so that whoever may send rows of one model can't touch the
    numbers of another's.
    """
    return f"{INCARNATION_PREFIX}{hashlib.sha256(model_id.encode()).hexdigest()[:16]}{os.urandom(8).hex()}"


def this_machine() -> str:
    """A digest of the machine's and the boot's identity, as far as the system tells them."""
    told = b""
    for path in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        try:
            told += Path(path).read_bytes()
        except OSError:
            continue
    return hashlib.sha256(told).hexdigest()[:16]


def encode(document: Document) -> bytes:
    """One line."""
    body = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %s\n" % (zlib.crc32(body), body)


def decode(line: bytes) -> Document | None:
    """The document of one line without its newline, or None for a damaged one."""
    try:
        if line[8:9] != b" " or int(line[:8], 16) != zlib.crc32(line[9:]):
            return None
        document = json.loads(line[9:])
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def lines(path: Path) -> Iterator[tuple[Document | None, int]]:
    """(document or None where it is damaged, where the line ends) of every whole line; a torn tail is not read."""
    end = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            end += len(line)
            yield decode(line[:-1]), end


def segments(folder: Path) -> list[tuple[int, Path]]:
    """(first sequence number, path) of the segments of a life, in order."""
    found = [(int(path.stem), path) for path in folder.glob(f"*{SUFFIX}") if path.stem.isdecimal()]
    return sorted(found)


def lives(log: Path) -> list[Path]:
    """The folders of all lives, in the order of their names."""
    if not log.is_dir():
        return []
    return sorted(path for path in log.iterdir() if path.name.startswith(INCARNATION_PREFIX) and path.is_dir())


def life_of(folder: Path) -> Life | None:
    """Whose life a folder is, by the first segment that can still say so; None: none can."""
    for _, path in reversed(segments(folder)):
        try:
            document = next((found for found, _ in lines(path)), None)
        except OSError:
            continue
        if document is not None and isinstance(document.get("life"), dict):
            try:
                life = Life(**document["life"])
            except TypeError:
                continue
            if life.incarnation == folder.name:
                return life
    return None


def read_number(path: Path) -> int:
    """The number in a file such as `sent`; 0 when it is not there or damaged."""
    try:
        document = decode(path.read_bytes().rstrip(b"\n"))
    except FileNotFoundError:
        return 0
    number = document.get("next") if document is not None else None
    return int(number) if isinstance(number, str) and number.isdecimal() else 0


def number_line(number: int) -> bytes:
    """The one line of a file such as `sent`; always as long, so that it can be written in place."""
    return encode({"next": f"{number:018d}"})


def replace_number(path: Path, number: int) -> None:
    """Write the file anew, in one step that survives a power failure. Raises `OSError`."""
    unnamed = path.with_name(f".{path.name}")
    fd = os.open(unnamed, os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        write_at(fd, number_line(number), 0)
        os.fsync(fd)
    finally:
        os.close(fd)
    unnamed.replace(path)


def write_at(fd: int, data: bytes, offset: int) -> None:
    """Write all of `data`. Raises `OSError`."""
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view = view[written:]
        offset += written


def used_bytes(log: Path) -> int:
    """Disk that a log takes, as its files say."""
    total = 0
    for folder, _, names in os.walk(log):
        for name in names:
            try:
                total += os.stat(os.path.join(folder, name)).st_size
            except FileNotFoundError:  # a forwarder deletes beside us
                continue
    return total
