"""What an edge device hands to the gateway: the rows of its own prediction log, see `trimtab.edge.runner`.

An edge incarnation is `edge.`, 16 hexadecimal digits that follow from the model, and 16 by lot. No replica of ours has
a name of that form, so an upload never moves how far a replica's log was counted; and whoever may upload for one model
can't touch the numbers of another's.
"""

import hashlib
from datetime import datetime
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, FiniteFloat, StringConstraints, model_validator

from schemas.base import Document, JsonValue, Name, UtcTime, Version

MAX_SEQUENCE = 2**40
"""Numbers of one incarnation: 35 years at 1,000 rows a second."""
MAX_GAPS = 1000
MAX_UPLOAD_ROWS = 10_000
MAX_NAMES = 200
"""Features that one row flags, or one upload counts."""

Digest = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Sequence = Annotated[int, Field(ge=0, le=MAX_SEQUENCE)]
FeatureName = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]+$")]
Incarnation = Annotated[str, StringConstraints(pattern=r"^edge\.[0-9a-f]{32}$")]


class _Told(Document):
    """Types are as they are written: a number is not taken for a text."""

    model_config = ConfigDict(strict=True)


def _since_1970(time: datetime) -> datetime:
    if time.year < 1970:
        raise ValueError("a time must lie in the years 1970 to 9999")
    return time


RowTime = Annotated[UtcTime, AfterValidator(_since_1970)]
"""What the prediction log can hold."""


class EdgeGap(_Told):
    """Numbers that were given to predictions whose rows the device does not have."""

    first_sequence: Sequence
    rows: Annotated[int, Field(ge=1, le=MAX_SEQUENCE)]
    reason: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x1f\x7f]*$")]


class EdgeRow(_Told):
    """One prediction as the device made it. `flags`: what was unusual about a feature."""

    time: RowTime
    input: dict[str, JsonValue] = Field(min_length=1, max_length=10_000)
    prediction: str | FiniteFloat | None = None
    probabilities: tuple[FiniteFloat | None, ...] | None = Field(default=None, max_length=100_000)
    latency_us: int = Field(ge=0, lt=2**32)
    error: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")] | None = None
    flags: dict[FeatureName, Annotated[str, StringConstraints(max_length=64)]] = Field(default={}, max_length=MAX_NAMES)


class EdgeUpload(_Told):
    """Consecutive rows from `first_sequence`, and the gaps before them. `refused` counts, by feature, requests that did
    not fit the signature; `sent_at` is the device's clock."""

    model_id: Name
    version: Version
    manifest_digest: Digest
    signature_digest: Digest
    replica: Name
    incarnation: Incarnation
    first_sequence: Sequence
    sent_at: UtcTime
    rows: tuple[EdgeRow, ...] = Field(default=(), max_length=MAX_UPLOAD_ROWS)
    gaps: tuple[EdgeGap, ...] = Field(default=(), max_length=MAX_GAPS)
    refused: dict[FeatureName, Annotated[int, Field(ge=1, lt=2**32)]] = Field(default={}, max_length=MAX_NAMES + 1)

    @model_validator(mode="after")
    def _its_numbers_fit(self) -> Self:
        if not self.rows and not self.gaps:
            raise ValueError("there are neither rows nor gaps")
        if self.end > MAX_SEQUENCE:
            raise ValueError(f"a sequence number is over {MAX_SEQUENCE}")
        before = 0
        for gap in self.gaps:
            if gap.first_sequence < before or gap.first_sequence + gap.rows > self.first_sequence:
                raise ValueError("gaps must come before the rows, in order, without an overlap")
            before = gap.first_sequence + gap.rows
        if not self.incarnation.startswith(incarnation_prefix(self.model_id)):
            raise ValueError("the incarnation is not one of this model")
        return self

    @property
    def end(self) -> int:
        """The number after the last row."""
        return self.first_sequence + len(self.rows)


class EdgeReceipt(Document):
    """The rows are in Kafka: the device may delete everything before `acknowledged`.

    `clock_offset_seconds` is how far the device's clock is ahead of the gateway's; `clock_skewed_rows` of the rows have
    a time that can't be right.
    """

    acknowledged: int
    rows: int
    clock_offset_seconds: float
    clock_skewed_rows: int


def incarnation_prefix(model_id: str) -> str:
    """How every edge incarnation of a model begins.

    >>> incarnation_prefix("threats")
    'edge.89f1a8029834dffd'
    """
    return "edge." + hashlib.sha256(model_id.encode()).hexdigest()[:16]
