"""The raw predictions, kept locally for labels that come late and for retraining.

One append-only series of segment files a partition. A record's bytes are appended before the transaction that counts
it; the transaction holds where they lie. After a crash the bytes past the last saved place belong to records that will
come again: they are cut off.
"""

import threading
from dataclasses import dataclass
from pathlib import Path

from services.kernel.errors import IntegrityFailed


@dataclass(frozen=True)
class Place:
    """Where a block lies."""

    partition: int
    segment: int
    position: int
    length: int


class Spool:
    """The segment files under `directory`. One writer a partition, be it in another process; any thread may read."""

    def __init__(self, directory: Path, segment_bytes: int) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._ends: dict[int, tuple[int, int]] = {}
        self._lock = threading.Lock()

    def open(self, partition: int, segment: int, size: int) -> None:
        """Continue the partition at `size` bytes of `segment`; what lies beyond was never counted."""
        with self._lock:
            self._directory.mkdir(parents=True, exist_ok=True)
            path = self._path(partition, segment)
            there = path.stat().st_size if path.exists() else 0
            if there > size:
                with path.open("r+b") as file:
                    file.truncate(size)
            elif there < size:  # lost with a disk, or written on another machine: leave the hole, begin a new file
                segment, size = segment + 1, 0
            for later in self._directory.glob(f"{partition}-*.seg"):
                if int(later.stem.partition("-")[2]) > segment:
                    later.unlink()
            self._ends[partition] = segment, size

    def close(self, partition: int) -> None:
        """Somebody else writes the partition from now on."""
        with self._lock:
            self._ends.pop(partition, None)

    def append(self, partition: int, payloads: list[bytes]) -> list[Place]:
        """Append `payloads` and say where they lie. `open` moves the end back if they are not counted after all.

        Raises `OSError` when the disk is full or broken.
        """
        if not payloads:
            return []
        with self._lock:
            segment, position = self._ends[partition]
            if position >= self._segment_bytes:
                segment, position = segment + 1, 0
            places = []
            with self._path(partition, segment).open("r+b" if position else "wb") as file:
                file.seek(position)
                for payload in payloads:
                    file.write(payload)
                    places.append(Place(partition, segment, position, len(payload)))
                    position += len(payload)
            self._ends[partition] = segment, position
            return places

    def end(self, partition: int) -> tuple[int, int]:
        """(segment, size) at which the next block is written."""
        return self._ends[partition]

    def read(self, place: Place) -> bytes:
        """The block's bytes. Raises `IntegrityFailed` when the file is not here, too short, or can't be read."""
        path = self._path(place.partition, place.segment)
        try:
            with path.open("rb") as file:
                file.seek(place.position)
                data = file.read(place.length)
        except OSError as error:
            raise IntegrityFailed(f"the spool file {path.name} cannot be read: {error.strerror}") from error
        if len(data) != place.length:
            raise IntegrityFailed(f"the spool file {path.name} ends before a block that was counted")
        return data

    def files(self) -> list[tuple[float, int, int, int]]:
        """(modified, size, partition, segment) of every finished segment, oldest first: what may be deleted.

        Of a partition that another process writes, the last one that lies here may be unfinished and is left out.
        """
        found = []
        for path in self._directory.glob("*.seg"):
            partition, _, segment = path.stem.partition("-")
            try:
                stat = path.stat()
            except FileNotFoundError:  # another process has deleted it
                continue
            found.append((stat.st_mtime, stat.st_size, int(partition), int(segment)))
        last: dict[int, int] = {}
        for _, _, partition_number, segment_number in found:
            last[partition_number] = max(segment_number, last.get(partition_number, 0))
        with self._lock:
            last |= {partition_number: end[0] for partition_number, end in self._ends.items()}
        return sorted(one for one in found if one[3] != last[one[2]])

    def size(self) -> int:
        """Bytes of all segments."""
        total = 0
        for path in self._directory.glob("*.seg"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:
                continue
        return total

    def delete(self, partition: int, segment: int) -> None:
        """Remove a finished segment; no block may point to it any more."""
        self._path(partition, segment).unlink(missing_ok=True)

    def _path(self, partition: int, segment: int) -> Path:
        return self._directory / f"{partition}-{segment}.seg"
