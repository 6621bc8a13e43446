"""The files of one version while they arrive, by whatever way: each is written and hashed in the same pass."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from schemas.manifest import MANIFEST_NAME
from services.kernel.artifacts import MAX_FILES
from services.kernel.errors import InvalidInput, TooLarge
from services.kernel.storage.keys import checked_key

MAX_METADATA_BYTES = 1 << 20
MAX_PATH_CHARACTERS = 512


@dataclass(frozen=True)
class Received:
    """One file of a version: its name in it, where it lies now, and what was found while it came.

    `sent_name` is what it was called by whoever sent it; empty: the same.
    """

    name: str
    path: Path
    size: int
    sha256: str
    sent_name: str = ""

    @property
    def sent_as(self) -> str:
        """The name to call it by in an error."""
        return self.sent_name or self.name


def checked_name(name: str, others: set[str]) -> str:
    """`name` itself, if a version that has the files `others` may have a file of this name. Raises `InvalidInput`."""
    checked_key(name)
    if len(name) > MAX_PATH_CHARACTERS:
        raise InvalidInput(f"a file's name has at most {MAX_PATH_CHARACTERS} characters: {name[:80]}...")
    if name in others:
        raise InvalidInput(f"the file {name} is there twice")
    if name == MANIFEST_NAME:
        raise InvalidInput(f"the registry writes {MANIFEST_NAME} itself: leave it out")
    if len(others) >= MAX_FILES:
        raise InvalidInput(f"a version holds at most {MAX_FILES} files")
    folders = {name[:at] for at, sign in enumerate(name) if sign == "/"}
    if folders & others or any(other.startswith(f"{name}/") for other in others):
        raise InvalidInput(f"{name} is a file and a folder of this version at once")
    return name


class Incoming:
    """Files and metadata as they come, into the folder `directory`. One file is open at a time; methods block."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: set[str] = set()
        self._metadata: bytearray | None = None
        self._in_metadata = False
        self._file: IO[bytes] | None = None
        self._name = ""
        self._size = 0
        self._digest: Any = None
        self.files: list[Received] = []

    @property
    def metadata(self) -> bytes:
        """The document about the version. Raises `InvalidInput` when none came."""
        if self._metadata is None:
            raise InvalidInput("`metadata` (a JSON document about the version) is missing")
        return bytes(self._metadata)

    def begin_metadata(self) -> None:
        """The metadata come next. Raises `InvalidInput` when they have come before."""
        if self._metadata is not None:
            raise InvalidInput("`metadata` is there twice")
        self._metadata, self._in_metadata = bytearray(), True

    def begin_file(self, name: str) -> None:
        """A file comes next. Raises `InvalidInput` for a name that may not be."""
        self._names.add(checked_name(name, self._names))
        path = self._directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("xb", buffering=0)
        self._name, self._size, self._digest = name, 0, hashlib.sha256()

    def write(self, data: bytes | memoryview) -> None:
        """More of what has begun."""
        if self._in_metadata:
            assert self._metadata is not None
            self._metadata += data
            if len(self._metadata) > MAX_METADATA_BYTES:
                raise TooLarge(f"`metadata` is over {MAX_METADATA_BYTES} bytes")
        elif self._file is not None:
            self._digest.update(data)
            self._size += len(data)
            write_all(self._file, data)

    def end(self) -> None:
        """What has begun is complete."""
        if self._file is not None:
            self._file.close()
            path = self._directory / self._name
            self.files.append(Received(self._name, path, self._size, self._digest.hexdigest()))
            self._file = None
        self._in_metadata = False

    def close(self) -> None:
        """Close a file that was not finished."""
        if self._file is not None:
            self._file.close()


def write_all(file: IO[bytes], data: bytes | memoryview) -> None:
    """Write every byte to an unbuffered file, which may take less at once (a full disk, a limit: then it raises)."""
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]
