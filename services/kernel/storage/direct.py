"""Uploads that go straight to the backend of a store, by signed URLs, past the process that owns the store.

An upload has a key and an id; its parts are numbered from 1. The URL of a part allows one request: to put exactly that
many bytes there, for a while. Nothing can be seen under the key before `complete`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class SentPart:
    """A part that the backend has: its size in bytes and the tag that the backend gave it."""

    size: int
    etag: str


class DirectUploads(Protocol):
    """What `ArtifactStore.direct` offers. Methods block and raise as those of `ArtifactStore` do."""

    def begin(self, key: str) -> str:
        """Open an upload of `key`: its id."""

    def url_of(self, key: str, upload_id: str, number: int, size: int, seconds: int) -> str:
        """Where `size` bytes of part `number` may be PUT for `seconds`."""

    def sent(self, key: str, upload_id: str) -> Mapping[int, SentPart]:
        """The parts that are there, by number. Raises `NotFound` when there is no such upload."""

    def complete(self, key: str, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make the object of these parts. Raises `InvalidInput` when the backend does not take them."""

    def abort(self, key: str, upload_id: str) -> None:
        """Forget the upload and its parts; one that is gone is no error."""

    def copy(self, source: str, key: str) -> None:
        """Copy an object inside the backend."""
