"""An entry of a model's compliance checklist. Pure: no I/O."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from schemas.base import StrictDocument, UtcTime
from services.registry.governance.policy import GatedStage
from services.registry.words import Words


class ControlState(StrEnum):
    """Where a control stands. Waived: it does not apply, for a reason that somebody answers for."""

    OPEN = "open"
    MET = "met"
    WAIVED = "waived"


Evidence = Annotated[Words, StringConstraints(min_length=1, max_length=2000)]
"""A sentence, or a link to where the proof lies."""


class Control(StrictDocument):
    """Something that must be shown about a model before its versions reach `stages`.

    Past `expires_at` it counts as open, whatever its `state` says: the evidence must be looked at again.
    """

    title: Words = Field(min_length=1, max_length=200)
    description: Words = Field(default="", max_length=20_000)
    owner: Words = Field(min_length=1, max_length=200)
    evidence: tuple[Evidence, ...] = Field(default=(), max_length=100)
    state: ControlState = ControlState.OPEN
    reason: Words = Field(default="", max_length=2000)
    stages: tuple[GatedStage, ...] = Field(default=(), max_length=2)
    expires_at: UtcTime | None = None

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.state is ControlState.MET and not self.evidence:
            raise ValueError("a control is met by evidence: give at least one sentence or link in `evidence`")
        if self.state is ControlState.WAIVED and not self.reason.strip():
            raise ValueError("a control is waived for a reason: give it in `reason`")
        return self

    def expired(self, now: datetime) -> bool:
        """Whether its evidence is too old at `now`."""
        return self.expires_at is not None and self.expires_at <= now

    def standing(self, now: datetime) -> ControlState:
        """What it counts as at `now`."""
        return ControlState.OPEN if self.expired(now) else self.state
