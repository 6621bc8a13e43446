"""Blobs that their sender puts straight into S3: past this process on their way in, and through it once to be checked.

The parts make an object `incoming/<random>`, which no version can name. Only when its bytes have been read and have the
promised digest are they copied, inside S3, to where blobs lie. What is known of an open upload lies in a small file per
principal and digest, so that it can be gone on with after a restart of the sender or of the registry.
"""

import hashlib
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from services.kernel.artifacts import blob_key
from services.kernel.errors import Conflict, IntegrityFailed, InvalidInput, NoRoom, NotFound
from services.kernel.storage import ArtifactStore
from services.kernel.storage.direct import DirectUploads, SentPart
from services.registry.arrivals.partials import SHARE, Partials, home_of

INCOMING = "incoming"
PART_BYTES = 16 << 20
"""Least size of the parts; S3 takes 5 MiB and more, but for the last."""
MAX_PARTS = 10_000
_READ_BYTES = 1 << 20
_STATE = ".json"


class Open(BaseModel):
    """One open upload."""

    key: str
    upload_id: str
    size: int
    part_bytes: int

    def sizes(self) -> dict[int, int]:
        """Bytes of every part, by number."""
        count = -(-self.size // self.part_bytes)
        sizes = {number: self.part_bytes for number in range(1, count + 1)}
        sizes[count] = self.size - (count - 1) * self.part_bytes
        return sizes


@dataclass(frozen=True)
class Part:
    """One part to send, or (`url` None) one that is there."""

    number: int
    size: int
    url: str | None
    etag: str | None


class DirectBlobs:
    """The uploads straight into `store`, noted below `folder`. Methods block.

    `max_bytes` bounds what is open, as in `Partials`; an upload is open for `keep_seconds`.
    """

    def __init__(
        self, store: ArtifactStore, partials: Partials, folder: Path, max_bytes: int, keep_seconds: float
    ) -> None:
        self._store = store
        self._partials = partials
        self._folder = folder
        self._max_bytes = max_bytes
        self._keep_seconds = keep_seconds

    def begin(self, principal: str, sha256: str, size: int) -> tuple[Open, list[Part], int]:
        """An upload of `size` bytes, or the one that is open; its parts; how many seconds their URLs hold.

        Raises `Conflict` when the store takes no such uploads, `InvalidInput` for a size that is not the open one's,
        and `NoRoom`.
        """
        direct = self._direct(sha256)
        if size < 1:
            raise InvalidInput(f"an empty blob has no parts: PUT it to /mlops/blobs/{sha256}")
        path = self._path(principal, sha256)
        found, sent = self._read(path), {}
        if found is not None:
            if found.size != size:
                raise InvalidInput(f"{sha256} was begun with {found.size} bytes, not {size}: one of them is wrong")
            try:
                sent = dict(direct.sent(found.key, found.upload_id))
            except NotFound:
                found = None
        if found is None:
            found = self._begin(direct, principal, path, size)
        seconds = int(self._keep_seconds)
        parts = []
        for number, part_size in found.sizes().items():
            there = sent.get(number)
            if there is not None and there.size == part_size:
                parts.append(Part(number, part_size, None, there.etag))
            else:
                url = direct.url_of(found.key, found.upload_id, number, part_size, seconds)
                parts.append(Part(number, part_size, url, None))
        return found, parts, seconds

    def complete(self, principal: str, sha256: str, upload_id: str, etags: Mapping[int, str]) -> None:
        """Make a blob of the parts: once their bytes have been read and have the digest.

        Raises `NotFound` (no such upload), `InvalidInput` (a part is missing or not as it was promised) and
        `IntegrityFailed` (then nothing is kept).
        """
        direct = self._direct(sha256)
        path = self._path(principal, sha256)
        found = self._read(path)
        if found is None or found.upload_id != upload_id:
            if found is None and self._partials.has_sent(principal, sha256):
                return  # completed before; that answer was lost
            raise NotFound(f"there is no open upload {upload_id[:80]!r} of {sha256}: begin one")
        if not self._store.exists(found.key):
            _check_parts(found, direct.sent(found.key, found.upload_id), etags)
            direct.complete(found.key, found.upload_id, etags)
        digest, size = self._read_through(found.key)
        if (digest, size) != (sha256, found.size):
            self._end(path, found)
            raise IntegrityFailed(f"the bytes that came are not {sha256}; they are thrown away: send them again")
        direct.copy(found.key, blob_key(sha256))  # what is there already may be damaged
        self._partials.note_sent(principal, sha256)
        self._end(path, found)

    def sweep(self) -> int:
        """End the uploads that were begun too long ago; how many that were."""
        ended = 0
        for path in list(self._folder.glob(f"*/*{_STATE}")):
            found = self._read(path)
            if found is not None and time.time() - path.stat().st_mtime > self._keep_seconds:
                self._end(path, found)
                ended += 1
        return ended

    def _direct(self, sha256: str) -> DirectUploads:
        if self._store.direct is None:
            raise Conflict(f"this registry keeps its artifacts in a folder: PUT the bytes to /mlops/blobs/{sha256}")
        return self._store.direct

    def _begin(self, direct: DirectUploads, principal: str, path: Path, size: int) -> Open:
        others = [self._read(other) for other in path.parent.glob(f"*{_STATE}") if other != path]
        if sum(other.size for other in others if other is not None) + size > self._max_bytes // SHARE:
            raise NoRoom(
                f"your open uploads would hold more than 1/{SHARE} of TRIMTAB_REGISTRY_UPLOADS_BYTES "
                f"({self._max_bytes}): finish them first"
            )
        key = f"{INCOMING}/{uuid.uuid4().hex}"
        part_bytes = max(PART_BYTES, -(-size // MAX_PARTS))
        found = Open(key=key, upload_id=direct.begin(key), size=size, part_bytes=part_bytes)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{uuid.uuid4().hex}")
        fresh.write_text(found.model_dump_json(), "utf-8")
        fresh.replace(path)
        return found

    def _read_through(self, key: str) -> tuple[str, int]:
        """SHA-256 and size of an object."""
        digest, size = hashlib.sha256(), 0
        with self._store.open(key) as source:
            while block := source.read(_READ_BYTES):
                digest.update(block)
                size += len(block)
        return digest.hexdigest(), size

    def _end(self, path: Path, found: Open) -> None:
        assert self._store.direct is not None
        self._store.direct.abort(found.key, found.upload_id)
        self._store.delete(found.key)
        path.unlink(missing_ok=True)

    def _read(self, path: Path) -> Open | None:
        try:
            return Open.model_validate_json(path.read_text("utf-8"))
        except (FileNotFoundError, ValidationError):
            return None

    def _path(self, principal: str, sha256: str) -> Path:
        return self._folder / home_of(principal) / f"{sha256}{_STATE}"


def _check_parts(found: Open, sent: Mapping[int, SentPart], etags: Mapping[int, str]) -> None:
    for number, size in found.sizes().items():
        there = sent.get(number)
        if there is None or there.size != size:
            raise InvalidInput(f"part {number} has not come with its {size} bytes: ask for the parts again and send it")
        if etags.get(number, "").strip('"') != there.etag:
            raise InvalidInput(f"part {number} has the etag {there.etag!r}: name every part with the etag S3 answered")
    if etags.keys() - found.sizes().keys():
        raise InvalidInput(f"the upload has {len(found.sizes())} parts: name these and no others")
