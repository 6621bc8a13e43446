"""What a pass of the collection goes by, and what it saw and did."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

REPORTED = 1_000
"""Keys that a report names at most."""


@dataclass(frozen=True)
class Graces:
    """How long what nothing names is left alone, in seconds; `job_seconds` is for models of jobs that were not
    registered, and `upload_seconds` is how long an upload straight to the store may be open before its grace begins."""

    seconds: float
    job_seconds: float
    upload_seconds: float


@dataclass(frozen=True)
class Dropped:
    """A version whose bytes retention gave up."""

    model_id: str
    version: str
    size_bytes: int


@dataclass
class Report:
    """What a pass saw and did. In a dry run `condemned` and `removed` are what a real one would have done now."""

    dry_run: bool
    dropped: list[Dropped] = field(default_factory=list)
    blobs: int = 0
    folders: int = 0
    condemned: int = 0
    condemned_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0
    spared: int = 0
    waiting: int = 0
    waiting_bytes: int = 0
    uploads_ended: int = 0
    seconds: float = 0.0
    keys: list[str] = field(default_factory=list)

    def name(self, keys: Iterable[str]) -> None:
        """Remember the first of them."""
        self.keys.extend(itertools.islice(keys, max(REPORTED - len(self.keys), 0)))
