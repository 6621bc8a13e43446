"""What a backup or a restore amounted to: what, how much of it, how long it took."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from services.kernel.bus.offsets import Offsets
from trimtab.backup.record import Record

NAMES_IN_NOTES = 10
"""Notes of one kind; the document has all names."""


@dataclass
class Report:
    """Filled while the work is done. `notes` are sentences about what a person should know.

    By name: `damaged` and `missing` is what nobody has, `kept` what the store has lost and the folder holds,
    `put_back` what it has again.
    """

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    new: dict[str, tuple[int, int]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[str, int, str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    damaged: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    put_back: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether every byte is where it belongs."""
        return not (self.damaged or self.missing or self.kept)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the time of the block to `what`."""
        began = time.monotonic()
        try:
            yield
        finally:
            self.seconds[what] += time.monotonic() - began

    def tell_of(self, made: Record, offsets: Offsets | None) -> None:
        """The counts of a backup."""
        for part in made.databases:
            size = sum(table.part.size for table in part.tables)
            self.rows.append((f"database {part.service}", part.rows, "rows", size))
        self.rows.append(("artifacts", made.artifacts.objects, "objects", made.artifacts.size))
        self.rows.append(("files", made.files.objects, "files", made.files.size))
        committed = sum(map(len, offsets.groups.values())) if offsets is not None else 0
        self.rows.append(("offsets", committed, "partitions", made.offsets.size if made.offsets is not None else 0))
        self.damaged, self.missing = made.artifacts.damaged, made.artifacts.missing
        self.facts |= {"made_at": made.made_at.isoformat(), "release": made.release}
        if offsets is not None:
            waiting = {group: behind for group in offsets.groups if (behind := offsets.behind(group))}
            self.facts["records_not_yet_handled"] = waiting
        self.note("damaged in the store, hence not saved", self.damaged)
        self.note("named by a saved row, but neither in the store nor in an earlier backup here", self.missing)

    def note(self, what: str, names: Sequence[str]) -> None:
        """Note of each of `names` that it is `what`."""
        self.notes += [f"{what}: {name}" for name in names[:NAMES_IN_NOTES]]
        if len(names) > NAMES_IN_NOTES:
            self.notes.append(f"{what}: {len(names) - NAMES_IN_NOTES} more (--json names all)")

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        parts = [
            {
                "what": what,
                "count": count,
                "unit": unit,
                "bytes": size,
                "seconds": self._seconds_of(what),
                **(dict(zip(("new", "new_bytes"), self.new[what], strict=True)) if what in self.new else {}),
            }
            for what, count, unit, size in self.rows
        ]
        seconds = round(sum(self.seconds.values()), 2)
        stages = {what: round(spent, 2) for what, spent in self.seconds.items()}
        return {
            **self.facts,
            "parts": parts,
            "seconds": seconds,
            "stages": stages,
            "damaged": self.damaged,
            "missing": self.missing,
            "kept": self.kept,
            "put_back": self.put_back,
            "notes": self.notes,
        }

    def _seconds_of(self, what: str) -> float | None:
        return round(self.seconds[what], 2) if what in self.seconds else None
