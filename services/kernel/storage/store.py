"""What an artifact store is."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from services.kernel.storage.direct import DirectUploads


@dataclass(frozen=True)
class StoredObject:
    """One stored object: its key, its size in bytes, and when it was last written (UTC)."""

    key: str
    size: int
    modified: datetime


class ArtifactStore(Protocol):
    """Bytes under keys. Methods block (call them in a thread); one store may be used from many threads at
    once.

    A write is atomic: a reader sees the whole old object or the whole new one, and after a returned `put` the
    object survives a crash. A key cannot be the folder of another key. Memory use does not depend on an
    object's size, but for `put_bytes` and `get_bytes`.

    All methods raise `InvalidInput` for a key outside the grammar of `services.kernel.storage.keys`,
    `NotFound` for a key that is not there, and `Unavailable` (retriable) when the backend fails.
    """

    @property
    def name(self) -> str:
        """Where this store is, for messages and `trimtab doctor`; no secrets."""

    @property
    def direct(self) -> DirectUploads | None:
        """Uploads past this process, straight to the backend; None where it takes none."""

    def put_file(self, key: str, path: Path) -> None:
        """Store the bytes of the file at `path`, replacing what was there."""

    def take_file(self, key: str, path: Path) -> None:
        """Store the file at `path` and remove it there; no byte is copied when both lie in one filesystem."""

    def path_of(self, key: str) -> Path | None:
        """A file that holds the object and may be read in place, or None where there is none (S3). Never write it."""

    def put_bytes(self, key: str, data: bytes) -> None:
        """Store `data`, replacing what was there."""

    def get_bytes(self, key: str, max_bytes: int | None = None) -> bytes:
        """The whole object. Raises `TooLarge` without reading on when it has more than `max_bytes`."""

    def fetch(self, key: str, path: Path) -> None:
        """Write the object to `path` (its folder must exist); `path` appears only when complete."""

    def open(self, key: str) -> BinaryIO:
        """A sequential reader; close it."""

    def exists(self, key: str) -> bool:
        """Whether the object is there."""

    def stat(self, key: str) -> StoredObject:
        """Size and time of the last write of one object."""

    def touch(self, key: str) -> None:
        """Make the object as young as if it had been written now; its bytes stay."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """All objects in the folder `prefix`, at any depth, in no promised order; lazily, however many."""

    def delete(self, key: str) -> None:
        """Remove the object; one that is not there is no error."""

    def end_writes(self, prefix: str, before: datetime) -> int:
        """Remove what writes into the folder `prefix` that began before `before`, and never ended, have left; how many.

        Nothing of them could ever be seen. A backend that does not know which folder a write was for takes all.
        """
