"""What of the log the gateway has not acknowledged yet: rows in order, and the numbers that no row has any more."""

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from .predlog import claim, end_of, is_written
from .segments import LOCK_NAME, SENT_NAME, SHED_NAME, Document, Life, lines, read_number, replace_number, segments

DAMAGED = "the line was damaged on the device"
SHED = "rows that were not logged"


@dataclass(frozen=True)
class Gap:
    """Numbers that were given to predictions whose rows are not there."""

    first_sequence: int
    rows: int
    reason: str


@dataclass
class Load:
    """What one upload carries: `gaps`, then consecutive rows. `end` is the number after all of it."""

    first_sequence: int
    rows: list[Document] = field(default_factory=list)
    gaps: list[Gap] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    size: int = 0

    @property
    def end(self) -> int:
        """The number after all that is told."""
        last_gap = max((gap.first_sequence + gap.rows for gap in self.gaps), default=0)
        return max(self.first_sequence + len(self.rows), last_gap)


def next_load(folder: Path, start: int, *, max_rows: int, max_bytes: int) -> Load | None:
    """The next upload from the number `start`; None when the life holds nothing after it. Raises `OSError`."""
    load: Load | None = None
    for entry in _entries(folder, start):
        if isinstance(entry, Gap):
            if load is not None and load.rows:
                return load
            load = load or Load(entry.first_sequence)
            load.gaps.append(entry)
            load.first_sequence = entry.first_sequence + entry.rows
        elif "refused" in entry:
            load = load or Load(start)
            load.refused.update(entry["refused"])
        else:
            load = load or Load(entry["n"])
            size = len(json.dumps(entry))
            if load.rows and (len(load.rows) >= max_rows or load.size + size > max_bytes):
                return load
            load.rows.append(entry)
            load.size += size
    return load if load is not None and load.end > start else None


def _entries(folder: Path, start: int) -> Iterator[Gap | Document]:
    """The rows from `start` on, a gap for what is missing between them, and the counts of refusals that they brought.

    Shed numbers are read before the rows, so that a row that is being written is never taken for a missing one.
    """
    shed, expected = read_number(folder / SHED_NAME), start
    abandoned = end_of(folder) is None and not is_written(folder)
    found = segments(folder)
    damaged, waiting, last = 0, [], found[-1][0] - 1 if found else -1
    for place, (_, path) in enumerate(found):
        if place + 1 < len(found) and found[place + 1][0] <= start:
            continue
        sync_file(path)  # what the gateway has heard of is never forgotten here
        for document, _ in lines(path):
            if document is None:
                damaged += 1
            elif "gap" in document:
                first, rows = document["gap"]
                if first <= expected < first + rows:
                    yield Gap(expected, first + rows - expected, str(document["reason"]))
                    expected = first + rows
            elif "refused" in document:
                waiting.append(document)
            elif "n" in document:
                number, damaged = int(document["n"]), 0
                last = number
                if number < start:
                    waiting = []  # they went with that row
                    continue
                if number > expected:
                    yield Gap(expected, number - expected, DAMAGED)
                yield from waiting
                waiting = []
                yield document
                expected = number + 1
    if shed > expected:
        yield Gap(expected, shed - expected, SHED)
        expected = shed
    elif abandoned and damaged and expected <= last + 1:  # how many lines there are is all that can be told
        yield Gap(expected, damaged, DAMAGED)


def acknowledge(folder: Path, end: int) -> None:
    """Note that the gateway has everything before the number `end`, and delete the segments that hold nothing else."""
    replace_number(folder / SENT_NAME, end)
    found = segments(folder)
    for (_, path), (following, _) in pairwise(found):
        if following <= end:
            path.unlink(missing_ok=True)


def discard_if_over(folder: Path, life: Life, current: Life) -> bool:
    """Remove a life of which everything is acknowledged and that no process can go on with; whether it is gone."""
    if life.continues(current) and end_of(folder) is not None:
        return False
    lock_fd = claim(folder)
    if lock_fd is None:
        return False
    try:
        if next_load(folder, read_number(folder / SENT_NAME), max_rows=1, max_bytes=0) is not None:
            return False
        for path in sorted(folder.iterdir(), key=lambda path: path.name == LOCK_NAME):
            path.unlink()
        folder.rmdir()
    finally:
        os.close(lock_fd)
    return True


def sync_file(path: Path) -> None:
    """Wait until the device has a file's bytes. Raises `OSError`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
