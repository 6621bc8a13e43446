"""Files of JSON lines, compressed, whose SHA-256 is known when they are closed.

A value is written as JSON; bytes and the floats that JSON lacks are objects of one member, which no row holds
otherwise.
"""

import base64
import gzip
import hashlib
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from trimtab.backup.errors import BackupUnusable
from trimtab.backup.record import Part

LEVEL = 1
"""gzip's fastest: manifests become a fifth at 100 MB/s."""


class Lines:
    """A file that is being written; `part` describes it once it is closed."""

    def __init__(self, folder: Path, path: str) -> None:
        self.path = path
        self._folder = folder
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        self._hashed = _Hashed(target.open("wb"))
        self._file = gzip.GzipFile(filename="", mode="wb", compresslevel=LEVEL, fileobj=self._hashed, mtime=0)

    def write(self, document: Any) -> None:
        """Append one line."""
        self._file.write(json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")

    def close(self) -> Part:
        """End the file and say what it is."""
        self._file.close()
        self._hashed.file.close()
        return Part(path=self.path, sha256=self._hashed.sha256.hexdigest(), size=self._hashed.size)


class _Hashed:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


@contextmanager
def reading(path: Path) -> Iterator[Iterator[Any]]:
    """The documents of a file. Raises `BackupUnusable` for a line that is none."""

    def documents(file: gzip.GzipFile) -> Iterator[Any]:
        try:
            for line in file:
                yield json.loads(line)
        except (OSError, EOFError, ValueError) as error:
            raise BackupUnusable(f"the backup is damaged: {path} can't be read ({error})") from error

    with gzip.open(path, "rb") as file:
        yield documents(file)


def to_json(value: Any) -> Any:
    """A column's value as JSON.

    >>> to_json(b"a"), to_json(float("inf")), to_json(0.1)
    ({'base64': 'YQ=='}, {'float': 'inf'}, 0.1)
    """
    if isinstance(value, bytes | bytearray | memoryview):
        return {"base64": base64.b64encode(value).decode()}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def from_json(value: Any) -> Any:
    """The value that `to_json` was given.

    >>> from_json({"base64": "YQ=="}), from_json({"float": "inf"}), from_json("a")
    (b'a', inf, 'a')
    """
    if not isinstance(value, dict):
        return value
    return base64.b64decode(value["base64"]) if "base64" in value else float(value["float"])
